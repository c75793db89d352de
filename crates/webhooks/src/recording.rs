//! Writes what became of attempts, and remembers what could not be written.
//!
//! A delivery whose attempt is not recorded would be sent again each time that its lease ends. So:
//!
//! - If Postgres cannot write at present (a right was revoked, the disk is full), the attempts stay in memory. They are recorded
//!   after a pause that grows from a second to a minute. Until then this process sends nothing. If Postgres falls silent for longer
//!   than `database_timeout_seconds`, they are forgotten, and sent again when their leases end.
//! - If Postgres refuses to record one attempt by itself, for example because of a constraint or a trigger of somebody else, its
//!   delivery is sent again. The delay grows with the number of attempts, as the schedule says.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::time::Duration;

use identity_log::is_outage;
use sqlx::error::DatabaseError;
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::delivering::{Delivering, UNSENT_DELAY};
use crate::queue::claims;
use crate::queue::records::{self, Ended};
use crate::schedule::Next;

/// How many attempts are recorded in one statement.
const MAX_RECORDED: usize = 256;

/// The shortest and the longest pause before it is tried again to record.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The `SQLSTATE` of a transaction that Postgres ended since another one waited for it.
const DEADLOCK: &str = "40P01";

/// The attempts that could not be recorded.
#[derive(Debug, Default)]
pub(crate) struct Unrecorded {
    attempts: Vec<Ended>,
    backoff: Option<Backoff>,
}

impl Unrecorded {
    /// Whether there are none, so that further deliveries may be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// The rows of the queue.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Uuid> {
        self.attempts.iter().map(|attempt| attempt.claim.id)
    }

    /// Records these attempts and those that could not be recorded before, unless there is a pause. Returns the attempts that were
    /// recorded, or whose deliveries were given back.
    pub(crate) async fn record(&mut self, delivering: &Delivering, ended: Vec<Ended>) -> Vec<Ended> {
        self.attempts.extend(ended);
        if self.backoff.is_some_and(|backoff| !backoff.is_over()) {
            delivering.metrics.unrecorded(self.attempts.len());
            return vec![];
        }
        self.record_now(delivering, vec![]).await
    }

    /// The same, also if there is a pause.
    pub(crate) async fn record_now(&mut self, delivering: &Delivering, ended: Vec<Ended>) -> Vec<Ended> {
        self.attempts.extend(ended);
        let (mut done, mut batches) = (vec![], batches(std::mem::take(&mut self.attempts)));
        let mut failure = None;
        while let Some(mut batch) = batches.pop_front() {
            match records::record(&delivering.pool, &batch).await {
                Ok(recorded) => {
                    note_recorded(delivering, &batch, &recorded);
                    done.append(&mut batch);
                }
                Err(error) if batch.len() > 1 && is_of_one(&error) => {
                    note_refused_batch(&error, batch.len());
                    for one in batch.into_iter().rev() {
                        batches.push_front(vec![one]);
                    }
                }
                Err(error) if !is_outage(&error) && give_back(delivering, &mut batch, &error).await => {
                    done.append(&mut batch);
                }
                Err(error) => {
                    batches.push_front(batch);
                    failure = Some(error);
                    break;
                }
            }
        }
        self.attempts = batches.into_iter().flatten().collect();
        self.backoff = failure.map(|error| self.failed(delivering, &error));
        delivering.metrics.unrecorded(self.attempts.len());
        done
    }

    fn failed(&self, delivering: &Delivering, error: &sqlx::Error) -> Backoff {
        delivering.metrics.not_recorded();
        let backoff = Backoff::after(self.backoff, SHORTEST_PAUSE, LONGEST_PAUSE);
        tracing::warn!(
            error = error as &dyn Error,
            webhooks = self.attempts.len(),
            seconds = backoff.pause().as_secs(),
            "cannot write what became of webhooks: no webhook is sent until that is possible"
        );
        backoff
    }
}

fn batches(attempts: Vec<Ended>) -> VecDeque<Vec<Ended>> {
    let (mut batches, mut rest) = (VecDeque::new(), attempts.into_iter());
    while rest.len() > 0 {
        batches.push_back(rest.by_ref().take(MAX_RECORDED).collect());
    }
    batches
}

/// Gives deliveries back whose attempts Postgres refuses to record. Returns whether that could be written.
async fn give_back(delivering: &Delivering, batch: &mut [Ended], error: &sqlx::Error) -> bool {
    for Ended { claim, next, .. } in batch {
        delivering.metrics.not_recorded();
        let attempts = u32::try_from(claim.attempts).unwrap_or(u32::MAX);
        let delay = delivering.schedule.repeated_delay(attempts).max(UNSENT_DELAY);
        tracing::warn!(
            error = error as &dyn Error,
            delivery = %claim.id,
            seconds = delay.as_secs(),
            "the database refuses what became of a webhook: it is sent again"
        );
        if let Err(error) = claims::postpone(&delivering.pool, claim, delay).await {
            tracing::warn!(error = &error as &dyn Error, delivery = %claim.id, "cannot give a webhook back");
            if is_outage(&error) {
                return false;
            }
            // That is refused, too: the row waits until its lease ends.
        }
        *next = Next::RetryAt(claim.now + delay);
    }
    true
}

/// Whether Postgres may accept the others without one of them: it is there, and refused the statement, or a deadlock ended it.
fn is_of_one(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| !is_outage(error) || code == DEADLOCK)
}

fn note_refused_batch(error: &sqlx::Error, webhooks: usize) {
    tracing::warn!(
        error = error as &dyn Error,
        webhooks,
        "cannot write together what became of webhooks: each is written by itself"
    );
}

/// Counts what is in the log of deliveries now.
fn note_recorded(delivering: &Delivering, batch: &[Ended], recorded: &HashSet<Uuid>) {
    for Ended { claim, id, attempt, .. } in batch {
        if recorded.contains(id) {
            delivering.recorded.note(&claim.organization_id, &claim.payload, attempt);
        } else {
            tracing::info!(delivery = %claim.id, "this webhook was deleted, or is sent by another process");
        }
    }
}
