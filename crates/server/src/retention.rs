//! Deletes old answers to writes under an `Idempotency-Key`, and old deliveries of webhooks.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use identity_log::idempotency;
use identity_log::primary::Primary;
use identity_webhooks::deliveries::pruning;
use sqlx::PgPool;

/// How often old rows are deleted.
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Answers to writes under an `Idempotency-Key`.
    pub(crate) idempotency: Duration,
    /// Deliveries of webhooks.
    pub(crate) webhooks: Duration,
}

/// Deletes rows that are older than `retention`, at the start and then once an hour. After a failure it is tried again
/// an hour later: rows that are kept for too long do no harm.
pub(crate) async fn run(pool: PgPool, primary: Primary, retention: Retention) -> Infallible {
    loop {
        let prune = async {
            told("answers to old idempotency keys", idempotency::prune(&pool, retention.idempotency).await);
            told("old deliveries of webhooks", pruning::prune(&pool, retention.webhooks).await);
            told(
                "webhooks that have waited to be sent for too long",
                pruning::prune_waiting(&pool, retention.webhooks).await,
            );
        };
        if let Err(silent) = primary.unless_silent(prune).await {
            tracing::warn!(error = &silent as &dyn Error, "old rows are not deleted yet");
        }
        tokio::time::sleep(PRUNE_INTERVAL).await;
    }
}

fn told(what: &str, pruned: Result<u64, sqlx::Error>) {
    match pruned {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "deleted {what}"),
        Err(error) => tracing::warn!(error = &error as &dyn Error, "cannot delete {what}"),
    }
}
