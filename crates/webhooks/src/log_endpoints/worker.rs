//! Sends histories.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use identity_log::follow::Head;
use identity_log::{ReadError, ids};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::MAX_LOG_ENDPOINTS;
use super::claims::{self, Capacity, Claim};
use super::history::{self, Event};
use crate::attempt::{Attempt, host_of};
use crate::backoff::Backoff;
use crate::credentials::{Credentials, CredentialsError};
use crate::delivering::{Delivering, Target, UNSENT_DELAY, Unsent};
use crate::places::Places;
use crate::schedule::{Attempted, Next};

/// To how many endpoints something is sent at the same time. The share of an organization is as many as it may have.
const PLACES: Places = Places { all: 256, of_large_shares: 192, share: MAX_LOG_ENDPOINTS, small_share: 4 };

/// After how long a step ends, at the next event. An endpoint that answers slowly would otherwise have its place for ten minutes.
const MAX_STEP: Duration = Duration::from_secs(1);

/// After how long without news endpoints are looked at.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long commits are gathered before endpoints are looked at.
const GATHERING_TIME: Duration = Duration::from_millis(10);

/// The same when nothing was sent to any endpoint for a second.
const IDLE_GATHERING_TIME: Duration = Duration::from_millis(100);
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// The shortest and the longest pause of an endpoint whose cursor could not be written. Otherwise it would get the same event again
/// each time that its lease ends.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// How long a stop waits until the leases are ended. A lease that is not ended by then ends by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The task that sends histories.
#[derive(Debug)]
pub struct LogSender {
    delivering: Delivering,
    head: watch::Receiver<Head>,
}

/// The tasks that serve endpoints, and the pauses of those whose cursors could not be written.
#[derive(Default)]
struct Work {
    tasks: JoinSet<Served>,
    /// When an endpoint was claimed last.
    last_claim: Option<Instant>,
    paused: HashMap<Uuid, Backoff>,
}

/// The end of a step.
struct Served {
    endpoint: Uuid,
    /// Whether it is written how far the endpoint has come, or nothing was sent to it.
    is_recorded: bool,
}

impl Work {
    fn finish(&mut self, Served { endpoint, is_recorded }: Served) {
        let last = self.paused.remove(&endpoint);
        if !is_recorded {
            self.paused.insert(endpoint, Backoff::after(last, SHORTEST_PAUSE, LONGEST_PAUSE));
        }
    }

    /// How much longer nothing is sent to an endpoint.
    fn pause(&self, endpoint: Uuid) -> Option<Duration> {
        self.paused.get(&endpoint).filter(|backoff| !backoff.is_over()).map(Backoff::remaining)
    }
}

/// Why an endpoint is not served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("the history cannot be read")]
    Read(#[from] ReadError),
    #[error("database error")]
    Database(#[from] sqlx::Error),
}

impl LogSender {
    pub(crate) fn new(delivering: Delivering, head: watch::Receiver<Head>) -> Self {
        Self { delivering, head }
    }

    /// Sends until it is told to stop. What is on its way then is given up, and the leases are ended.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut work = Work::default();
        // It is dropped when the service stops.
        let (stopping, stopped) = watch::channel(());
        loop {
            if let Err(error) = self.begin(&mut work, &stopped).await {
                tracing::warn!(error = &error as &dyn Error, "cannot claim log endpoints, trying again");
            }
            tokio::select! {
                _ = &mut stop => break,
                Ok(()) = self.head.changed() => {}
                Some(Ok(served)) = work.tasks.join_next() => work.finish(served),
                () = tokio::time::sleep(MAX_SILENCE) => {}
            }
            let is_idle = work.last_claim.is_none_or(|last| last.elapsed() > IDLE_AFTER);
            let gathering = if is_idle { IDLE_GATHERING_TIME } else { GATHERING_TIME };
            tokio::select! {
                _ = &mut stop => break,
                () = tokio::time::sleep(gathering) => {}
            }
            while let Some(served) = work.tasks.try_join_next() {
                if let Ok(served) = served {
                    work.finish(served);
                }
            }
        }
        drop(stopping);
        let ended = async { while work.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::warn!("log endpoints wait until their leases end");
        }
        work.tasks.shutdown().await;
    }

    async fn begin(&self, work: &mut Work, stopped: &watch::Receiver<()>) -> Result<(), sqlx::Error> {
        while let Some(free) = PLACES.free(work.tasks.len()) {
            let (lease, longest_pause) = (self.delivering.lease(), self.delivering.schedule.longest_pause());
            let claimed =
                claims::claim(&self.delivering.pool, &Capacity { free, lease, longest_pause }).await?;
            let is_all = claimed.len() < free.places;
            for claim in claimed {
                work.last_claim = Some(Instant::now());
                let (delivering, pause) = (self.delivering.clone(), work.pause(claim.id));
                match pause {
                    None => drop(work.tasks.spawn(told_to(delivering, claim, stopped.clone()))),
                    Some(pause) => wait_for(&delivering, &claim, pause).await,
                }
            }
            if is_all {
                break;
            }
        }
        Ok(())
    }
}

async fn told_to(delivering: Delivering, claim: Claim, stopped: watch::Receiver<()>) -> Served {
    let endpoint = claim.id;
    let mut is_sent = false;
    let served = serve(&delivering, claim, stopped, &mut is_sent).await;
    match &served {
        Ok(()) => {}
        Err(error) if is_sent => {
            delivering.metrics.not_recorded();
            tracing::warn!(error = error as &dyn Error, endpoint = %endpoint, "cannot write how far a log endpoint has come");
        }
        Err(error) => {
            tracing::warn!(error = error as &dyn Error, endpoint = %endpoint, "a log endpoint waits until its lease ends");
        }
    }
    Served { endpoint, is_recorded: served.is_ok() || !is_sent }
}

/// Gives an endpoint back, to which nothing is sent for so long.
async fn wait_for(delivering: &Delivering, claim: &Claim, pause: Duration) {
    if let Err(error) = claims::postpone(&delivering.pool, claim, pause).await {
        tracing::warn!(error = &error as &dyn Error, endpoint = %claim.id, "a log endpoint waits until its lease ends");
    }
}

/// Sends the events of one step, one after the other, until one fails or [`MAX_STEP`] is over. Then it is the turn of another
/// endpoint. `is_sent` becomes true with the first attempt.
async fn serve(
    delivering: &Delivering,
    mut claim: Claim,
    mut stopped: watch::Receiver<()>,
    is_sent: &mut bool,
) -> Result<(), ServeError> {
    let since = Instant::now();
    let step = history::next(&delivering.pool, &claim).await?;
    for event in step.events {
        let attempt = tokio::select! {
            attempt = attempt(delivering, &claim, &event) => attempt,
            _ = stopped.changed() => {
                return Ok(claims::release(&delivering.pool, &claim, claim.sequence).await?);
            }
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => {
                note_unsent(&claim, &error);
                return Ok(claims::postpone(&delivering.pool, &claim, UNSENT_DELAY).await?);
            }
        };
        *is_sent = true;
        let next = next(delivering, &mut claim, &attempt);
        note(&claim, &event, &attempt, next);
        if next != Next::Done {
            return Ok(claims::fail(&delivering.pool, &claim, &attempt, next).await?);
        }
        if !advance(delivering, &mut claim, event.sequence, &attempt).await? {
            return Ok(());
        }
        if since.elapsed() >= MAX_STEP {
            return Ok(claims::release(&delivering.pool, &claim, claim.sequence).await?);
        }
    }
    Ok(claims::release(&delivering.pool, &claim, step.upto).await?)
}

/// Moves the cursor. Returns false if the endpoint is not this process's any more.
async fn advance(
    delivering: &Delivering,
    claim: &mut Claim,
    sequence: i64,
    attempt: &Attempt,
) -> Result<bool, sqlx::Error> {
    let lease = claims::advance(&delivering.pool, claim, sequence, attempt, delivering.lease()).await?;
    let Some((lease_until, now)) = lease else { return Ok(false) };
    *claim = Claim { sequence, lease_until, now, attempts: 0, failing_since: None, ..claim.clone() };
    Ok(true)
}

async fn attempt(delivering: &Delivering, claim: &Claim, event: &Event) -> Result<Attempt, Unsent> {
    let key = delivering.secrets_key.open(claim.id, &claim.signing_key).map_err(CredentialsError::from)?;
    let credentials = Credentials { key, token: None };
    let target = Target { url: &claim.url, organization_id: &claim.organization_id, credentials };
    delivering.send(target, ids::mint(), &event.id, &event.envelope, claim.now).await
}

fn next(delivering: &Delivering, claim: &mut Claim, attempt: &Attempt) -> Next {
    claim.attempts = claim.attempts.saturating_add(1);
    delivering.metrics.count(attempt.outcome());
    let attempted = Attempted {
        now: claim.now + attempt.duration,
        attempts: u32::try_from(claim.attempts).unwrap_or(u32::MAX),
        failing_since: claim.failing_since,
        random: rand::random(),
    };
    delivering.schedule.next_in_order(attempt.outcome(), &attempted)
}

/// A line of the log for each attempt, without bodies, secrets, and the path of the URL, which can be a secret, too.
fn note(claim: &Claim, event: &Event, attempt: &Attempt, next: Next) {
    tracing::info!(
        endpoint = %claim.id,
        sequence = event.sequence,
        host = host_of(&claim.url),
        attempt = claim.attempts,
        status = attempt.status,
        error = attempt.error,
        milliseconds = attempt.stored_duration(),
        next = next.as_str(),
        "{}",
        attempt.log_message("sent an event to a log endpoint", "an event for a log endpoint was not answered")
    );
}

/// The service could not do its part. The receiver was not asked: nothing counts as a failure of it.
fn note_unsent(claim: &Claim, error: &Unsent) {
    tracing::warn!(
        error = error as &dyn Error,
        endpoint = %claim.id,
        "cannot send to a log endpoint at present, trying again later"
    );
}
