//! Webhooks: where they may be sent, how they are signed, and what is sent when.
//!
//! # Code map
//! - [`address`]: which URLs and addresses may be reached. `connector`: connections to those and to no others.
//! - [`signature`]: the headers by which a receiver knows who sends.
//! - `credentials`: what a delivery is signed with, and the token that it carries.
//! - [`attempt`]: one POST and its answer. `delivering`: signs a payload and makes an attempt.
//! - [`schedule`]: when a delivery is repeated, and when an endpoint is given up. Pure.
//! - [`queue`]: from the log to the queue, and how rows of the queue are claimed; `dispatcher`: the task that sends them.
//! - `recording`: writes what became of attempts. `backoff`: a pause that grows.
//! - `places`: how much a task claims, and how much of that for one organization.
//! - `disabling`: ends the sending to a subscription.
//! - [`deliveries`]: what was sent and what was answered.
//! - [`log_endpoints`]: the whole history of an organization, in order.

pub mod address;
mod amount;
pub mod attempt;
mod backoff;
mod connector;
mod credentials;
pub mod deliveries;
mod delivering;
mod disabling;
mod dispatcher;
pub mod log_endpoints;
pub mod metrics;
mod places;
pub mod queue;
mod recording;
pub mod schedule;
pub mod signature;

use std::sync::Arc;
use std::time::Duration;

use identity_log::Log;
use identity_log::follow::Head;
use identity_log::signing_keys::SecretsKey;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::address::{Policy, Refusal, Resolver, SystemResolver, counted_for};
use crate::attempt::Sender;
use crate::deliveries::limits::Recorded;
use crate::delivering::Delivering;
use crate::metrics::Metrics;
use crate::schedule::Schedule;

pub use crate::amount::Amount;
pub use crate::deliveries::limits::LogLimits;
pub use crate::dispatcher::Dispatcher;
pub use crate::log_endpoints::worker::LogSender;
pub use crate::queue::backlog::WaitingLimits;
pub use crate::queue::fan_out::FanOut;

/// The settings of webhooks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where they may be sent.
    pub policy: Policy,
    /// When they are repeated.
    pub schedule: Schedule,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// How long deliveries are kept.
    pub retention: Duration,
    /// How many deliveries are kept for an organization.
    pub log: LogLimits,
    /// How many deliveries may wait.
    pub waiting: WaitingLimits,
    /// What resolves the names to which something is sent.
    pub resolver: Arc<dyn Resolver>,
    /// Certificate authorities that are trusted besides those that browsers trust.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// What the parts of webhooks share, and what requests need of them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Webhooks {
    delivering: Delivering,
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolver>,
    waiting: WaitingLimits,
    wake: Arc<Notify>,
}

impl Webhooks {
    /// Webhooks over a database.
    pub fn new(
        pool: PgPool,
        secrets_key: SecretsKey,
        settings: &Settings,
        metrics: Metrics,
    ) -> Result<Self, attempt::SenderError> {
        // What is saved does not wait for what is sent: it has a resolver of its own.
        let resolver = Arc::new(SystemResolver::default());
        let Settings { policy, resolver: of_sender, timeout, authorities, .. } = settings;
        let sender = Sender::new(policy.clone(), Arc::clone(of_sender), *timeout, authorities)?;
        let (schedule, timeout) = (Arc::new(settings.schedule.clone()), settings.timeout);
        let recorded = Recorded::new(settings.log);
        let delivering = Delivering { pool, sender, secrets_key, schedule, metrics, timeout, recorded };
        let policy = Arc::new(settings.policy.clone());
        Ok(Self { delivering, policy, resolver, waiting: settings.waiting, wake: Arc::default() })
    }

    /// Whether an organization may have something sent to a URL, as far as can be said at present: its host is resolved.
    pub async fn check(&self, organization: &str, url: &str) -> Result<(), Refusal> {
        counted_for(organization, self.policy.reach(url, &*self.resolver)).await.map(drop)
    }

    /// The connections for webhooks.
    pub fn pool(&self) -> &PgPool {
        &self.delivering.pool
    }

    /// What was recorded in the log of deliveries.
    pub fn recorded(&self) -> &Recorded {
        &self.delivering.recorded
    }

    /// The task that reads the log.
    pub fn fan_out(&self, head: watch::Receiver<Head>, log: Log) -> FanOut {
        FanOut::new(self.delivering.pool.clone(), head, log, Arc::clone(&self.wake), self.waiting)
    }

    /// The task that sends histories to log endpoints.
    pub fn log_sender(&self, head: watch::Receiver<Head>) -> LogSender {
        LogSender::new(self.delivering.clone(), head)
    }

    /// The task that sends.
    pub fn dispatcher(&self, log: Log) -> Dispatcher {
        Dispatcher::new(self.delivering.clone(), log, Arc::clone(&self.wake))
    }
}
