//! Writing one drafted batch: by the one statement, or in the transaction that has locked `log_head`.

use std::sync::Arc;
use std::time::Instant;

use sqlx::{Executor, PgConnection};

use super::connection::within;
use super::deps::Deps;
use super::draft::Draft;
use super::head::DraftedOn;
use super::idempotency;
use super::number_pool;
use super::queue::{Job, Outcome, appends, mark_as_sent};
use crate::append::Append;
use crate::error::BatchError;
use crate::primary;

/// A draft that is to be written, and the connection that writes it.
pub(super) struct Batch {
    pub(super) connection: PgConnection,
    pub(super) draft: Draft,
    pub(super) jobs: Vec<Job>,
    /// When its transaction began.
    pub(super) begun: Instant,
    /// Whether the connection is in a transaction that has `log_head` locked.
    pub(super) is_locked: bool,
}

/// The result of writing a batch.
pub(super) enum Written {
    /// The batch is committed, and every caller has an answer.
    Committed(PgConnection),
    /// Nothing was written, because the draft was not valid any more or one of its commands was abandoned. The commands are
    /// drafted again: the SQL of the draft is gone, and what it was drafted on may be the same.
    Invalid(PgConnection, DraftedOn, Vec<Job>),
    /// Nothing was written, because of an error. The connection is dropped, so Postgres rolls back.
    Refused(Vec<Job>, BatchError),
    /// The commit was sent, and the connection broke or Postgres did not answer in time: the batch may be committed.
    Unconfirmed(Vec<Job>, BatchError),
}

/// Why a batch was not confirmed.
struct NotWritten {
    error: BatchError,
    step: Step,
}

/// A step of writing a batch.
enum Step {
    /// Before the commit was sent.
    Write,
    /// After it was sent.
    Commit,
    /// After Postgres has reported success.
    Confirm,
}

impl NotWritten {
    /// Whether the batch may be committed. Where Postgres itself reports an error to a commit, it has rolled the transaction
    /// back. Every other error says nothing about the commit.
    fn is_outcome_unknown(&self) -> bool {
        match self.step {
            Step::Write => false,
            Step::Commit => !matches!(self.error, BatchError::Database(sqlx::Error::Database(_))),
            Step::Confirm => true,
        }
    }
}

impl Batch {
    /// Writes the batch, commits, tells the observers, and answers every caller.
    pub(super) async fn write(mut self, deps: Arc<Deps>) -> Written {
        deps.tell(|observer| observer.sending(&self.draft.events));
        let written = if self.is_locked {
            self.write_under_lock(&deps).await.map(|()| true)
        } else {
            self.write_in_one_statement(&deps).await
        };
        let Self { connection, draft, jobs, begun, .. } = self;
        match written {
            Ok(true) => deps.tell(|observer| observer.committed(&draft.events)),
            Ok(false) => {
                deps.tell(|observer| observer.not_written());
                return Written::Invalid(connection, draft.into_drafted_on(), jobs);
            }
            Err(failure) => {
                deps.failed();
                if failure.is_outcome_unknown() {
                    deps.tell(|observer| observer.outcome_unknown());
                    return Written::Unconfirmed(jobs, failure.error);
                }
                deps.tell(|observer| observer.not_written());
                return Written::Refused(jobs, failure.error);
            }
        }
        deps.has_committed(&draft.outcomes, &draft.events, begun.elapsed());
        for (job, outcome) in jobs.into_iter().zip(draft.outcomes) {
            job.answer(outcome);
        }
        Written::Committed(connection)
    }

    /// Writes and commits with one statement. Returns false if nothing was written: the draft was not valid any more,
    /// or a command was abandoned since it was drafted.
    async fn write_in_one_statement(&mut self, deps: &Deps) -> Result<bool, NotWritten> {
        if !mark_as_sent(&self.jobs) {
            return Ok(false);
        }
        let (writes, began) = (std::mem::take(&mut self.draft.writes), Instant::now());
        let statement = async { Ok(writes.execute_if_valid(&mut self.connection).await?) };
        let written = within(deps.settings.database_timeout, statement).await;
        let is_written = written.map_err(|error| NotWritten { error, step: Step::Commit })?;
        if is_written {
            self.confirm(began, deps).await?;
        }
        Ok(is_written)
    }

    async fn write_under_lock(&mut self, deps: &Deps) -> Result<(), NotWritten> {
        let limit = deps.settings.database_timeout;
        let Self { connection, draft, jobs, .. } = self;
        let written = within(limit, write_uncommitted(connection, draft, &appends(jobs))).await;
        written.map_err(|error| NotWritten { error, step: Step::Write })?;
        let began = Instant::now();
        let commit = async { Ok(connection.execute("commit").await.map(drop)?) };
        let committed = within(limit, commit).await;
        committed.map_err(|error| NotWritten { error, step: Step::Commit })?;
        self.confirm(began, deps).await
    }

    async fn confirm(&mut self, began: Instant, deps: &Deps) -> Result<(), NotWritten> {
        let confirmed = async { Ok(primary::confirm_if_slow(&mut self.connection, began).await?) };
        let confirmed = within(deps.settings.database_timeout, confirmed).await;
        confirmed.map_err(|error| NotWritten { error, step: Step::Confirm })
    }
}

/// Writes a draft in the transaction that has `log_head` locked.
pub(super) async fn write_uncommitted(
    connection: &mut PgConnection,
    draft: &mut Draft,
    appends: &[&Append],
) -> Result<(), BatchError> {
    if !draft.events.is_empty() {
        let writes = std::mem::take(&mut draft.writes);
        if !writes.execute_under_lock(connection).await? {
            return Err(BatchError::Moved);
        }
    }
    if !draft.numbers.is_empty() {
        number_pool::change(connection, &draft.numbers).await?;
    }
    for (append, outcome) in appends.iter().zip(&mut draft.outcomes) {
        keep_answer(connection, append, outcome).await?;
    }
    Ok(())
}

/// Composes and stores the answer to a write with an idempotency key. A refused command leaves no record.
async fn keep_answer(
    connection: &mut PgConnection,
    append: &Append,
    outcome: &mut Outcome,
) -> Result<(), BatchError> {
    let (Ok(committed), Some(repeatable)) = (outcome, &append.repeatable) else {
        return Ok(());
    };
    let kept = repeatable.answer.compose(committed)?;
    idempotency::keep(connection, append, repeatable, &kept).await?;
    committed.kept = Some(kept);
    Ok(())
}
