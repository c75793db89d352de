//! Writing one batch: by one statement that takes its turn, or in a transaction that holds the head lock.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{Executor, PgConnection};

use crate::committer::{Deps, Job, send_all, within};
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
    /// The commit was sent, and the connection broke or Postgres did not answer in time: the batch may be committed.
    Unconfirmed(Vec<Job>, BatchError),
}

/// Why a batch was not confirmed.
struct NotWritten {
    error: BatchError,
    /// Whether the commit was on its way.
    is_commit_sent: bool,
}

impl NotWritten {
    /// An error that Postgres itself reports rolls the transaction back. Every other error says nothing of the commit.
    fn is_outcome_unknown(&self) -> bool {
        self.is_commit_sent && !matches!(self.error, BatchError::Database(sqlx::Error::Database(_)))
    }
}

impl Batch {
    /// Writes it, commits, and answers everybody.
    pub(crate) async fn write(mut self, deps: Arc<Deps>) -> Written {
        let written = if self.is_locked {
            self.write_under_lock(&deps).await.map(|()| true)
        } else {
            self.take_turn(&deps).await
        };
        let Self { connection, draft, jobs, begun, .. } = self;
        match written {
            Ok(true) => {}
            Ok(false) => return Written::Missed(connection, Box::new(draft), jobs),
            Err(failure) => {
                deps.metrics.failed();
                return if failure.is_outcome_unknown() {
                    Written::Unconfirmed(jobs, failure.error)
                } else {
                    Written::Refused(jobs, failure.error)
                };
            }
        }
        deps.metrics.committed(&draft.outcomes, begun.elapsed());
        for observer in &deps.observers {
            observer.committed(&draft.events);
        }
        for (job, outcome) in jobs.into_iter().zip(draft.outcomes) {
            answer(job, outcome);
        }
        Written::Committed(connection)
    }

    /// Writes and commits by one statement, unless a command was abandoned since it was drafted.
    async fn take_turn(&mut self, deps: &Deps) -> Result<bool, NotWritten> {
        if !send_all(&self.jobs) {
            return Ok(false);
        }
        let writes = std::mem::take(&mut self.draft.writes);
        let turn = async { Ok(writes.take_turn(&mut self.connection).await?) };
        let taken = within(deps.settings.database_timeout, turn).await;
        taken.map_err(|error| NotWritten { error, is_commit_sent: true })
    }

    async fn write_under_lock(&mut self, deps: &Deps) -> Result<(), NotWritten> {
        let limit = deps.settings.database_timeout;
        let written = within(limit, self.write_uncommitted(deps)).await;
        written.map_err(|error| NotWritten { error, is_commit_sent: false })?;
        let connection = &mut self.connection;
        let commit = async { Ok(connection.execute("commit").await.map(drop)?) };
        let committed = within(limit, commit).await;
        committed.map_err(|error| NotWritten { error, is_commit_sent: true })
    }

    async fn write_uncommitted(&mut self, deps: &Deps) -> Result<(), BatchError> {
        let Self { connection, draft, jobs, .. } = self;
        if !draft.events.is_empty() {
            let writes = std::mem::take(&mut draft.writes);
            if !writes.execute_under_lock(connection).await? {
                return Err(BatchError::Moved);
            }
        }
        if !draft.numbers.is_empty() {
            deps.carrier.claim(connection, &draft.numbers).await?;
        }
        for (job, outcome) in jobs.iter().zip(&mut draft.outcomes) {
            keep_answer(connection, &job.append, outcome).await?;
        }
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
    idempotency::keep(connection, append, repeatable, &kept).await?;
    committed.kept = Some(kept);
    Ok(())
}

/// Tells a caller. One that went away has nobody to tell; what was committed stays committed.
fn answer(job: Job, outcome: Outcome) {
    drop(job.reply.send(outcome));
}

/// Tells all callers that nothing was written.
pub(crate) fn refuse(jobs: Vec<Job>, error: BatchError) {
    let outage = error.is_outage();
    tell_all(jobs, error, if outage { AppendError::Unavailable } else { AppendError::Failed });
}

/// Tells all callers the same error.
pub(crate) fn tell_all(jobs: Vec<Job>, error: BatchError, as_error: fn(Arc<BatchError>) -> AppendError) {
    let error = Arc::new(error);
    for job in jobs {
        answer(job, Err(as_error(Arc::clone(&error))));
    }
}
