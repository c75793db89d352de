//! Sends what is due.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use identity_domain::webhook_subscription::DisableReason;
use identity_log::signing_keys::SecretsKey;
use identity_log::{Log, ids};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::address::counted_for;
use crate::attempt::{Attempt, Sender, host_of};
use crate::credentials::{Credentials, CredentialsError};
use crate::disabling::disable;
use crate::metrics::Metrics;
use crate::queue::claims::{self, Capacity, Claim};
use crate::queue::records;
use crate::schedule::{Attempted, Next, Outcome, Reason, Schedule};
use crate::signature::Signed;

/// How many deliveries of this process are on their way at the same time.
const MAX_IN_FLIGHT: usize = 1024;

/// Of those, how many may be for endpoints to which everything fails.
const MAX_FAILING_IN_FLIGHT: usize = 512;

/// How many rows are claimed at a time.
const MAX_CLAIMED: usize = 256;

/// After how long without news the queue is looked at.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long news are gathered before the next rows are claimed.
const MIN_GATHERING_TIME: Duration = Duration::from_millis(5);
const MAX_GATHERING_TIME: Duration = Duration::from_millis(50);

/// How many times as long as the last claim they are gathered within these limits. A claim looks at every endpoint for which something
/// waits, so it takes the longer the more there are. In this way claims that take less than 17 ms take a quarter of the time.
const GATHERED_CLAIMS: u32 = 3;

/// How much longer than an attempt a lease is. What became of the attempt is written in this time.
const LEASE_MARGIN: Duration = Duration::from_secs(20);

/// How long a delivery waits that this service could not send.
pub(crate) const UNSENT_DELAY: Duration = Duration::from_secs(30);

/// What a delivery needs.
#[derive(Debug, Clone)]
pub(crate) struct Delivering {
    pub(crate) pool: PgPool,
    pub(crate) sender: Sender,
    pub(crate) secrets_key: SecretsKey,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
}

/// The task that sends.
#[derive(Debug)]
pub struct Dispatcher {
    delivering: Delivering,
    log: Log,
    wake: Arc<Notify>,
}

/// Why the receiver was not asked: this service could not do its part. It is no failure of the receiver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsent {
    /// Too many names are being resolved.
    #[error("the name of the host waits to be resolved")]
    Busy,
    /// It cannot be signed, or its token cannot be opened.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Something is no value of a header.
    #[error("this is no value of a header")]
    Value(#[from] hyper::header::InvalidHeaderValue),
}

/// Claims of attempts that run.
type Running = HashMap<Uuid, OffsetDateTime>;

impl Dispatcher {
    pub(crate) fn new(delivering: Delivering, log: Log, wake: Arc<Notify>) -> Self {
        Self { delivering, log, wake }
    }

    /// Sends until it is told to stop. Attempts that run then are given up, and their rows given back.
    pub async fn run(self, mut stop: oneshot::Receiver<()>) {
        let (mut attempts, mut running) = (JoinSet::new(), Running::new());
        loop {
            let claimed_in = self.begin(&mut attempts, &mut running).await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn Error, "cannot claim webhooks, trying again");
                Duration::ZERO
            });
            let gathering_time = (claimed_in * GATHERED_CLAIMS).clamp(MIN_GATHERING_TIME, MAX_GATHERING_TIME);
            tokio::select! {
                _ = &mut stop => break,
                () = self.wake.notified() => {}
                Some(finished) = attempts.join_next() => forget(&mut running, finished),
                () = tokio::time::sleep(MAX_SILENCE) => {}
            }
            tokio::time::sleep(gathering_time).await;
            while let Some(finished) = attempts.try_join_next() {
                forget(&mut running, finished);
            }
        }
        attempts.shutdown().await;
        let rest: Vec<(Uuid, OffsetDateTime)> = running.into_iter().collect();
        if let Err(error) = claims::release(&self.delivering.pool, &rest).await {
            tracing::warn!(
                error = &error as &dyn Error,
                "webhooks that were being sent wait until their leases end"
            );
        }
    }

    /// Claims rows and begins to send them, until there are no more or enough are on their way. Returns how long the last claim took.
    async fn begin(
        &self,
        attempts: &mut JoinSet<Uuid>,
        running: &mut Running,
    ) -> Result<Duration, sqlx::Error> {
        let mut claimed_in = Duration::ZERO;
        loop {
            let rows = (MAX_IN_FLIGHT - attempts.len().min(MAX_IN_FLIGHT)).min(MAX_CLAIMED);
            if rows == 0 {
                return Ok(claimed_in);
            }
            let capacity = Capacity {
                rows: i64::try_from(rows).unwrap_or(i64::MAX),
                failing: attempts.len() < MAX_FAILING_IN_FLIGHT,
                lease: self.delivering.lease(),
            };
            let since = Instant::now();
            let claimed = claims::claim(&self.delivering.pool, &capacity).await?;
            claimed_in = since.elapsed();
            let is_all = claimed.len() < rows;
            for claim in claimed {
                running.insert(claim.id, claim.lease_until);
                attempts.spawn(deliver(self.delivering.clone(), self.log.clone(), claim));
            }
            if is_all {
                return Ok(claimed_in);
            }
        }
    }
}

/// The row of an attempt that panicked stays claimed until its lease ends.
fn forget(running: &mut Running, finished: Result<Uuid, tokio::task::JoinError>) {
    match finished {
        Ok(id) => drop(running.remove(&id)),
        Err(error) => tracing::error!(error = &error as &dyn Error, "an attempt of a webhook was cut off"),
    }
}

/// Sends a delivery once, and writes what became of it.
async fn deliver(delivering: Delivering, log: Log, claim: Claim) -> Uuid {
    let id = ids::mint();
    let attempt = match delivering.attempt(&claim, id).await {
        Ok(attempt) => attempt,
        Err(error) => {
            give_back(&delivering, &claim, &error).await;
            return claim.id;
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
    match records::record(&delivering.pool, &claim, id, &attempt, next, due_at).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::info!(delivery = %claim.id, "this webhook was deleted, or is sent by another process");
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn Error, delivery = %claim.id, "cannot write what became of a webhook: it is sent again");
        }
    }
    if let Next::Disable(reason) = next {
        disable_endpoint(&delivering, &log, &claim, reason).await;
    }
    claim.id
}

/// Disables the endpoint, unless it has another address by now. Then its row is given back.
async fn disable_endpoint(delivering: &Delivering, log: &Log, claim: &Claim, reason: Reason) {
    let reason = match reason {
        Reason::Gone => DisableReason::Gone,
        Reason::Failing => DisableReason::Failing,
    };
    let url = Some(claim.url.clone());
    disable(log, &claim.organization_id, claim.endpoint_id, url, reason, claim.id).await;
    if let Err(error) = claims::release(&delivering.pool, &[(claim.id, claim.lease_until)]).await {
        tracing::warn!(error = &error as &dyn Error, delivery = %claim.id, "a webhook waits until its lease ends");
    }
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
        "sent a webhook"
    );
}

impl Delivering {
    /// How long a claim lasts.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout + LEASE_MARGIN
    }

    async fn attempt(&self, claim: &Claim, id: Uuid) -> Result<Attempt, Unsent> {
        let credentials = claim.sealed.open(&self.secrets_key, claim.identity_id, claim.endpoint_id)?;
        let target = Target { url: &claim.url, organization_id: &claim.organization_id, credentials };
        self.send(target, id, &claim.event_id, &claim.payload, claim.now).await
    }

    /// Signs a payload and sends it.
    pub(crate) async fn send(
        &self,
        target: Target<'_>,
        id: Uuid,
        event_id: &str,
        payload: &str,
        moment: OffsetDateTime,
    ) -> Result<Attempt, Unsent> {
        let body = Bytes::copy_from_slice(payload.as_bytes());
        let signed = Signed { request_id: &id.to_string(), event_id, moment, body: &body };
        let Target { url, organization_id, credentials } = target;
        let headers = headers(&credentials, &signed)?;
        // Keys are not kept for as long as the receiver is waited for.
        drop(credentials);
        let attempt = counted_for(organization_id, self.sender.send(url, headers, body)).await;
        if attempt.is_postponed { Err(Unsent::Busy) } else { Ok(attempt) }
    }
}

fn headers(credentials: &Credentials, signed: &Signed<'_>) -> Result<HeaderMap, Unsent> {
    let mut headers = signed.headers(&credentials.key)?;
    if let Some(token) = &credentials.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Where a delivery goes.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) url: &'a str,
    pub(crate) organization_id: &'a str,
    pub(crate) credentials: Credentials,
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
