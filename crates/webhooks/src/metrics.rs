//! What is counted of webhooks.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use sqlx::PgExecutor;

use crate::schedule::Outcome;

/// Up to how many rows of the queue are counted.
pub const MAX_COUNTED: i64 = 10_000;

/// Counters of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    attempts: Family<OutcomeLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Metrics {
    /// Counters that are shown by a registry.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Webhooks that were sent, by what became of them";
        registry.register("webhook_attempts", help, metrics.attempts.clone());
        metrics
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.attempts.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }
}

/// What waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many rows the queue has, up to [`MAX_COUNTED`].
    pub rows: i64,
    /// How old its oldest row is.
    pub oldest: Duration,
    /// For how many organizations events have still to be queued that others have behind them.
    pub late_organizations: i64,
    /// How many log endpoints that are not disabled have not got all events, up to [`MAX_COUNTED`].
    pub log_endpoints: i64,
}

/// Looks at the queue and the log endpoints.
pub async fn waiting(executor: impl PgExecutor<'_>) -> Result<Waiting, sqlx::Error> {
    let (rows, oldest, late_organizations, log_endpoints): (i64, f64, i64, i64) = sqlx::query_as(
        "select (select count(*) from (select from webhook_queue order by created_at limit $1) as counted),
                coalesce(extract(epoch from now() - (select min(created_at) from webhook_queue))::float8, 0),
                (select count(*) from webhook_late),
                (select count(*) from (select from webhook_log_endpoints as endpoint
                                       join organization_heads as head on head.organization_id = endpoint.organization_id
                                       where endpoint.disabled_reason is null and endpoint.sequence < head.sequence
                                       limit $1) as behind)",
    )
    .bind(MAX_COUNTED)
    .fetch_one(executor)
    .await?;
    let oldest = Duration::try_from_secs_f64(oldest).unwrap_or_default();
    Ok(Waiting { rows, oldest, late_organizations, log_endpoints })
}
