//! Writing one batch: by one statement that takes its turn, or in a transaction that holds the head lock.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{Executor, PgConnection};

use crate::committer::{Job, Tools};
use crate::draft::{Draft, Outcome};
use crate::error::{AppendError, BatchError};
use crate::idempotency;
use crate::log::Append;

/// A draft that is to be written.
pub(crate) struct Batch {
    pub(crate) connection: PgConnection,
    pub(crate) draft: Draft,
    pub(crate) jobs: Vec<Job>,
    /// When its transaction was begun.
    pub(crate) begun: Instant,
    /// Whether the connection is within a transaction that holds the lock.
    pub(crate) is_locked: bool,
}

/// What became of a batch.
pub(crate) enum Written {
    /// It is committed, and everybody has an answer.
    Committed(PgConnection),
    /// Nothing of it was written: it was not its turn, or too late.
    Missed(PgConnection, Box<Draft>, Vec<Job>),
    /// Nothing of it was written. The connection is dropped: Postgres rolls back, and the next batch starts on a fresh one.
    Refused(Vec<Job>, BatchError),
}

impl Batch {
    /// Writes it, commits, and answers everybody.
    pub(crate) async fn write(mut self, tools: Arc<Tools>) -> Written {
        let written = if self.is_locked {
            self.write_under_lock(&tools).await.map(|()| true)
        } else {
            self.take_turn().await
        };
        let Self { connection, draft, jobs, begun, .. } = self;
        match written {
            Ok(true) => {}
            Ok(false) => return Written::Missed(connection, Box::new(draft), jobs),
            Err(error) => {
                tools.metrics.failed();
                return Written::Refused(jobs, error);
            }
        }
        tools.metrics.committed(&draft.outcomes, begun.elapsed());
        for observer in &tools.observers {
            observer.committed(&draft.events);
        }
        for (job, outcome) in jobs.into_iter().zip(draft.outcomes) {
            answer(job, outcome);
        }
        Written::Committed(connection)
    }

    async fn take_turn(&mut self) -> Result<bool, BatchError> {
        let writes = std::mem::take(&mut self.draft.writes);
        Ok(writes.take_turn(&mut self.connection).await?)
    }

    async fn write_under_lock(&mut self, tools: &Tools) -> Result<(), BatchError> {
        let Self { connection, draft, jobs, .. } = self;
        if !draft.events.is_empty() {
            let writes = std::mem::take(&mut draft.writes);
            if !writes.execute_under_lock(connection).await? {
                return Err(BatchError::Moved);
            }
        }
        if !draft.numbers.is_empty() {
            tools.carrier.claim(connection, &draft.numbers).await?;
        }
        for (job, outcome) in jobs.iter().zip(&mut draft.outcomes) {
            keep_answer(connection, &job.append, outcome).await?;
        }
        connection.execute("commit").await?;
        Ok(())
    }
}

/// Composes and keeps the answer to a write that may be repeated. A refused one leaves no record.
async fn keep_answer(
    connection: &mut PgConnection,
    append: &Append,
    outcome: &mut Outcome,
) -> Result<(), BatchError> {
    let (Ok(committed), Some(repeatable)) = (outcome, &append.repeatable) else {
        return Ok(());
    };
    let kept = repeatable.answer.compose(connection, committed).await?;
    idempotency::keep(connection, &append.organization_id, repeatable, &kept).await?;
    committed.kept = Some(kept);
    Ok(())
}

/// Tells a caller. One that went away has nobody to tell; what was committed stays committed.
fn answer(job: Job, outcome: Outcome) {
    drop(job.reply.send(outcome));
}

/// Tells all of them that nothing was written.
pub(crate) fn refuse(jobs: Vec<Job>, error: BatchError) {
    let outage = error.is_outage();
    let error = Arc::new(error);
    for job in jobs {
        let error = Arc::clone(&error);
        answer(job, Err(if outage { AppendError::Unavailable(error) } else { AppendError::Failed(error) }));
    }
}
