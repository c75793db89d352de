//! Writing one batch, in a transaction that holds the head lock.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{Executor, PgConnection};

use crate::committer::{Job, Tools};
use crate::draft::{Draft, Outcome};
use crate::error::{AppendError, BatchError};
use crate::idempotency;
use crate::log::Append;

/// A draft whose turn it is.
pub(crate) struct Batch {
    /// Within the transaction.
    pub(crate) connection: PgConnection,
    pub(crate) draft: Draft,
    pub(crate) jobs: Vec<Job>,
    /// When the transaction was begun.
    pub(crate) begun: Instant,
}

/// What became of a batch.
pub(crate) enum Written {
    /// It is committed, and everybody has an answer.
    Committed(PgConnection),
    /// Nothing of it was written. The connection is dropped: Postgres rolls back, and the next batch starts on a fresh one.
    Refused(Vec<Job>, BatchError),
}

impl Batch {
    /// Writes it, commits, and answers everybody.
    pub(crate) async fn write(mut self, tools: Arc<Tools>) -> Written {
        if let Err(error) = self.try_write(&tools).await {
            tools.metrics.failed();
            return Written::Refused(self.jobs, error);
        }
        let Self { connection, draft, jobs, begun } = self;
        tools.metrics.committed(&draft.outcomes, begun.elapsed());
        for observer in &tools.observers {
            observer.committed(&draft.events);
        }
        for (job, outcome) in jobs.into_iter().zip(draft.outcomes) {
            answer(job, outcome);
        }
        Written::Committed(connection)
    }

    async fn try_write(&mut self, tools: &Tools) -> Result<(), BatchError> {
        let Self { connection, draft, jobs, .. } = self;
        if !draft.events.is_empty() {
            draft.record.write(connection, &draft.events).await?;
            derive(connection, tools, draft).await?;
        }
        for (job, outcome) in jobs.iter().zip(&mut draft.outcomes) {
            keep_answer(connection, &job.append, outcome).await?;
        }
        connection.execute("commit").await?;
        Ok(())
    }
}

/// What else follows from the events: numbers taken, read models.
async fn derive(connection: &mut PgConnection, tools: &Tools, draft: &Draft) -> Result<(), BatchError> {
    if !draft.numbers.is_empty() {
        tools.carrier.claim(connection, &draft.numbers).await?;
    }
    for read_model in &tools.read_models {
        read_model.apply(connection, &draft.events).await?;
    }
    Ok(())
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
