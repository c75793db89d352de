//! Deletes old answers to writes under an `Idempotency-Key`.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use identity_log::idempotency;
use sqlx::PgPool;

/// How often old answers are deleted.
const PRUNE_INTERVAL: Duration = Duration::from_hours(1);

/// Forgets what is older than `retention`, now and from time to time. A failure is tried again the next time: what is
/// kept for too long does no harm.
pub(crate) async fn run(pool: PgPool, retention: Duration) -> Infallible {
    loop {
        match idempotency::prune(&pool, retention).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "forgot answers to old idempotency keys"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "cannot forget answers to old idempotency keys");
            }
        }
        tokio::time::sleep(PRUNE_INTERVAL).await;
    }
}
