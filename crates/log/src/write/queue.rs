//! The commands that wait for the committer, and how their callers are answered.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::append::{Append, Committed};
use crate::error::{AppendError, BatchError};

/// How many commands the queue takes before further callers wait for room in it.
pub(crate) const MAX_QUEUED_COMMANDS: usize = 4096;

/// The answer to one command.
pub(crate) type Outcome = Result<Committed, AppendError>;

/// A command that waits for its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) append: Append,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

impl Job {
    /// Answers the caller. If the caller went away, the answer is dropped; the commit is not undone.
    pub(super) fn answer(self, outcome: Outcome) {
        drop(self.reply.send(outcome));
    }
}

/// The commands that wait for a batch of their own, since each may write much.
#[derive(Debug, Default)]
pub(super) struct BulkQueue {
    jobs: VecDeque<Job>,
    /// The organization of the last command that was taken.
    last: String,
}

impl BulkQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Moves the bulk commands of `jobs` to the end of this queue.
    pub(super) fn take_from(&mut self, jobs: &mut Vec<Job>) {
        self.jobs.extend(jobs.extract_if(.., |job| job.append.is_bulk));
    }

    /// Takes the first command. The commands of the organization that was the last to have its turn go to the end before, so
    /// organizations take turns.
    pub(super) fn next(&mut self) -> Option<Job> {
        let (of_others, of_the_last): (VecDeque<Job>, VecDeque<Job>) =
            self.jobs.drain(..).partition(|job| job.append.organization_id != self.last);
        self.jobs = of_others;
        self.jobs.extend(of_the_last);
        let job = self.jobs.pop_front()?;
        self.last.clone_from(&job.append.organization_id);
        Some(job)
    }
}

/// The commands of a batch.
pub(super) fn appends(jobs: &[Job]) -> Vec<&Append> {
    jobs.iter().map(|job| &job.append).collect()
}

/// Removes the jobs whose callers do not wait any more: they were told that the command failed, or went away.
pub(super) fn remove_abandoned(jobs: &mut Vec<Job>) {
    jobs.retain(|job| !job.reply.is_closed() && !job.append.fate.is_abandoned());
}

/// Marks all commands as sent to Postgres. Returns false if one of them was abandoned before. The others are marked all
/// the same, since they are written without it.
pub(super) fn mark_as_sent(jobs: &[Job]) -> bool {
    let mut none_abandoned = true;
    for job in jobs {
        none_abandoned &= job.append.fate.send();
    }
    none_abandoned
}

/// Tells all callers that nothing was written.
pub(super) fn refuse(jobs: Vec<Job>, error: BatchError) {
    if error.is_taken() {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a name or number that nobody has claimed is somebody's: run `identityd doctor`, which has the check `claims`"
        );
    }
    if error.is_behind_events() {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "`organization_heads` is behind the events of an organization: run `identityd doctor`, which has the check `log`"
        );
    }
    answer_all(jobs, error, AppendError::nothing_written);
}

/// Answers all callers with the same error.
pub(super) fn answer_all(jobs: Vec<Job>, error: BatchError, as_error: fn(Arc<BatchError>) -> AppendError) {
    let error = Arc::new(error);
    for job in jobs {
        job.answer(Err(as_error(Arc::clone(&error))));
    }
}
