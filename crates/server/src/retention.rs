//! Deletes old answers to writes under an `Idempotency-Key`, and old deliveries of webhooks.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use identity_log::idempotency;
use identity_log::primary::Primary;
use identity_webhooks::deliveries::limits::Recorded;
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

/// Deletes rows that are older than `retention`, and deliveries of organizations that have too many.
pub(crate) async fn run(
    pool: PgPool,
    primary: Primary,
    retention: Retention,
    recorded: Recorded,
) -> Infallible {
    tokio::select! {
        never = prune_old(&pool, &primary, retention) => never,
        never = prune_excess(&pool, &primary, &recorded) => never,
    }
}

/// Deletes old rows at the start and then once an hour. After a failure it is tried again an hour later: rows that are kept for too
/// long do no harm.
async fn prune_old(pool: &PgPool, primary: &Primary, retention: Retention) -> Infallible {
    loop {
        let prune = async {
            told("answers to old idempotency keys", idempotency::prune(pool, retention.idempotency).await);
            told("old deliveries of webhooks", pruning::prune(pool, retention.webhooks).await);
            told(
                "webhooks that have waited to be sent for too long",
                pruning::prune_waiting(pool, retention.webhooks).await,
            );
        };
        if let Err(silent) = primary.unless_silent(prune).await {
            tracing::warn!(error = &silent as &dyn Error, "old rows are not deleted yet");
        }
        tokio::time::sleep(PRUNE_INTERVAL).await;
    }
}

/// Deletes deliveries of organizations that have too many, one organization after another.
async fn prune_excess(pool: &PgPool, primary: &Primary, recorded: &Recorded) -> Infallible {
    loop {
        for organization in recorded.due().await {
            let pruned = primary.unless_silent(recorded.prune(pool, &organization)).await;
            match pruned {
                Ok(Ok(0)) => {}
                Ok(Ok(rows)) => {
                    tracing::info!(
                        organization,
                        rows,
                        "deleted deliveries of webhooks: the organization has too many"
                    );
                }
                Ok(Err(error)) => {
                    recorded.not_pruned(&organization);
                    tracing::warn!(error = &error as &dyn Error, "cannot delete deliveries of webhooks");
                }
                Err(silent) => {
                    recorded.not_pruned(&organization);
                    tracing::warn!(
                        error = &silent as &dyn Error,
                        "deliveries of webhooks are not deleted yet"
                    );
                }
            }
        }
    }
}

fn told(what: &str, pruned: Result<u64, sqlx::Error>) {
    match pruned {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "deleted {what}"),
        Err(error) => tracing::warn!(error = &error as &dyn Error, "cannot delete {what}"),
    }
}
