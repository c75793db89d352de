//! Sends what is due.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity_domain::webhook_subscription::DisableReason;
use identity_log::{Log, ids};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use crate::attempt::{Attempt, host_of};
use crate::delivering::{Delivering, UNSENT_DELAY, Unsent};
use crate::disabling::disable;
use crate::places::Places;
use crate::queue::claims::{self, Capacity, Claim};
use crate::queue::records::Ended;
use crate::recording::Unrecorded;
use crate::schedule::{Attempted, Next, Outcome, Reason};

/// How many deliveries are on their way at the same time. The share of an organization is a quarter of what one process sends, so
/// that an organization whose endpoints are slow leaves room for others.
const PLACES: Places = Places { all: 1024, of_large_shares: 768, share: 256, small_share: 16 };

/// How many of all may be for endpoints to which everything fails.
const MAX_FAILING_IN_FLIGHT: usize = 512;

/// After how long without news the queue is looked at.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long news are gathered before the next rows are claimed. It is 15 ms even after a claim of 1 ms: otherwise a claim that
/// takes 2 ms longer would delay every delivery by 8 ms.
const MIN_GATHERING_TIME: Duration = Duration::from_millis(15);
const MAX_GATHERING_TIME: Duration = Duration::from_millis(50);

/// News are gathered for so many times as long as the last claim took, within these limits. A claim looks at every endpoint for
/// which something waits, so many endpoints make claims slow. Because of this factor, claims that take 5 to 17 ms take up a
/// quarter of the time. Shorter claims take up less, longer ones more.
const GATHERED_CLAIMS: u32 = 3;

/// The task that sends.
#[derive(Debug)]
pub struct Dispatcher {
    delivering: Delivering,
    log: Log,
    wake: Arc<Notify>,
}

/// The tasks that run, and the attempts that have ended and are not recorded.
#[derive(Default)]
struct Work {
    tasks: JoinSet<Finished>,
    ended: Vec<Ended>,
    unrecorded: Unrecorded,
    /// The rows of the queue of all of them, with the ends of their leases.
    claimed: HashMap<Uuid, OffsetDateTime>,
}

/// How a task finished.
enum Finished {
    /// An attempt was made.
    Ended(Box<Ended>),
    /// Nothing is left to do for this row of the queue, which was claimed until this moment.
    Left(Uuid, OffsetDateTime),
}

impl Work {
    /// The row of a task that panicked stays claimed until its lease ends. It stays in `claimed` until the process ends.
    fn finish(&mut self, finished: Result<Finished, JoinError>) {
        match finished {
            Ok(Finished::Ended(ended)) => self.ended.push(*ended),
            Ok(Finished::Left(row, lease)) => self.leave(row, lease),
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "an attempt of a webhook was cut off");
            }
        }
    }

    /// Forgets a row, unless it was claimed again when the lease had ended.
    fn leave(&mut self, row: Uuid, lease: OffsetDateTime) {
        if self.claimed.get(&row) == Some(&lease) {
            self.claimed.remove(&row);
        }
    }

    /// The attempts that have ended by now.
    fn take_ended(&mut self) -> Vec<Ended> {
        while let Some(finished) = self.tasks.try_join_next() {
            self.finish(finished);
        }
        std::mem::take(&mut self.ended)
    }
}

impl Dispatcher {
    pub(crate) fn new(delivering: Delivering, log: Log, wake: Arc<Notify>) -> Self {
        Self { delivering, log, wake }
    }

    /// Sends until it is told to stop. Attempts that run then are given up, and their rows given back.
    pub async fn run(self, mut stop: oneshot::Receiver<()>) {
        let mut work = Work::default();
        loop {
            let claimed_in = self.begin(&mut work).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn Error, "cannot claim webhooks, trying again");
                Duration::ZERO
            });
            let gathering_time = (claimed_in * GATHERED_CLAIMS).clamp(MIN_GATHERING_TIME, MAX_GATHERING_TIME);
            tokio::select! {
                _ = &mut stop => break,
                () = self.wake.notified() => {}
                Some(finished) = work.tasks.join_next() => work.finish(finished),
                () = tokio::time::sleep(MAX_SILENCE) => {}
            }
            tokio::select! {
                _ = &mut stop => break,
                () = tokio::time::sleep(gathering_time) => {}
            }
            let ended = work.take_ended();
            let done = work.unrecorded.record(&self.delivering, ended).await;
            self.end(&mut work, done);
        }
        work.tasks.abort_all();
        while let Some(finished) = work.tasks.join_next().await {
            work.finish(finished);
        }
        let ended = work.take_ended();
        let done = work.unrecorded.record_now(&self.delivering, ended).await;
        self.end(&mut work, done);
        // `end` has begun to disable endpoints. That is given up: whoever claims these rows next sends them again, and disables
        // the endpoints.
        work.tasks.shutdown().await;
        // The rows of attempts that could not be recorded stay claimed until their leases end.
        for row in work.unrecorded.rows() {
            work.claimed.remove(&row);
        }
        let rest: Vec<(Uuid, OffsetDateTime)> = work.claimed.into_iter().collect();
        if let Err(error) = claims::release(&self.delivering.pool, &rest).await {
            tracing::warn!(
                error = &error as &dyn Error,
                "webhooks that were being sent wait until their leases end"
            );
        }
    }

    /// Leaves the rows of attempts that are recorded, and disables endpoints that are given up.
    fn end(&self, work: &mut Work, recorded: Vec<Ended>) {
        for Ended { claim, next, .. } in recorded {
            if let Next::Disable(reason) = next {
                let (pool, log) = (self.delivering.pool.clone(), self.log.clone());
                work.tasks.spawn(disable_endpoint(pool, log, claim, reason));
            } else {
                work.leave(claim.id, claim.lease_until);
            }
        }
    }

    /// Claims rows and begins to send them, until there are no more or enough are on their way. Returns how long the last claim
    /// took. What cannot be recorded is not sent.
    async fn begin(&self, work: &mut Work) -> Result<Duration, sqlx::Error> {
        let mut claimed_in = Duration::ZERO;
        if !work.unrecorded.is_empty() {
            return Ok(claimed_in);
        }
        while let Some(free) = PLACES.free(work.tasks.len()) {
            let capacity = Capacity {
                free,
                failing: work.tasks.len() < MAX_FAILING_IN_FLIGHT,
                lease: self.delivering.lease(),
                longest_pause: self.delivering.schedule.longest_pause(),
            };
            let since = Instant::now();
            let claimed = claims::claim(&self.delivering.pool, &capacity).await?;
            claimed_in = since.elapsed();
            let is_all = claimed.len() < free.places;
            for claim in claimed {
                work.claimed.insert(claim.id, claim.lease_until);
                work.tasks.spawn(deliver(self.delivering.clone(), claim));
            }
            if is_all {
                break;
            }
        }
        Ok(claimed_in)
    }
}

/// Sends a delivery once.
async fn deliver(delivering: Delivering, claim: Claim) -> Finished {
    let id = ids::mint();
    let attempt = match delivering.attempt(&claim, id).await {
        Ok(attempt) => attempt,
        Err(error) => {
            give_back(&delivering, &claim, &error).await;
            return Finished::Left(claim.id, claim.lease_until);
        }
    };
    let attempted = Attempted {
        now: claim.now + attempt.duration,
        attempts: u32::try_from(claim.attempts).unwrap_or(u32::MAX),
        failing_since: claim.failing_since,
        random: rand::random(),
    };
    let next = delivering.schedule.next(attempt.outcome(), &attempted);
    delivering.metrics.count(attempt.outcome());
    note(&claim, &attempt, next);
    let due_at = delivering.schedule.due_at(next, attempted.now);
    Finished::Ended(Box::new(Ended { claim, id, attempt, next, due_at }))
}

/// Disables the endpoint, unless it has another address by now. Then its row is given back.
async fn disable_endpoint(pool: PgPool, log: Log, claim: Claim, reason: Reason) -> Finished {
    let reason = match reason {
        Reason::Gone => DisableReason::Gone,
        Reason::Failing => DisableReason::Failing,
    };
    let url = Some(claim.url.clone());
    disable(&log, &claim.organization_id, claim.endpoint_id, url, reason, claim.id).await;
    if let Err(error) = claims::release(&pool, &[(claim.id, claim.lease_until)]).await {
        tracing::warn!(error = &error as &dyn Error, delivery = %claim.id, "a webhook waits until its lease ends");
    }
    Finished::Left(claim.id, claim.lease_until)
}

/// The service could not do its part. The receiver was not asked: nothing counts as a failure of it.
async fn give_back(delivering: &Delivering, claim: &Claim, error: &Unsent) {
    tracing::warn!(error = error as &dyn Error, delivery = %claim.id, "cannot send a webhook at present, trying again later");
    if let Err(error) = claims::give_back(&delivering.pool, claim, UNSENT_DELAY).await {
        tracing::warn!(error = &error as &dyn Error, delivery = %claim.id, "a webhook waits until its lease ends");
    }
}

/// A line of the log for each attempt, without bodies, secrets, and the path of the URL, which can be a secret, too.
fn note(claim: &Claim, attempt: &Attempt, next: Next) {
    tracing::info!(
        subscription = %claim.endpoint_id,
        event = claim.event_id,
        host = host_of(&claim.url),
        attempt = claim.attempts,
        status = attempt.status,
        error = attempt.error,
        milliseconds = attempt.stored_duration(),
        next = next.as_str(),
        "{}",
        attempt.log_message("sent a webhook", "a webhook was not answered")
    );
}

impl Next {
    /// What the log calls it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "delivered",
            Self::RetryAt(_) => "retry",
            Self::Abandon => "abandoned",
            Self::Disable(_) => "disabled",
        }
    }
}

impl Outcome {
    /// The value of its label in the metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed { .. } => "failed",
            Self::Gone => "gone",
        }
    }
}
