//! What a service waits for when it stops. Each wait has an end: somebody may keep a table locked, and the machine of the database
//! may hang.

use std::time::Duration;

use sqlx::PgPool;

/// How long tasks may take to end when the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a pool may take to close its connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until tasks have ended, but not for ever: somebody may keep a table locked. Nothing that was acknowledged depends on them.
pub(super) async fn unless_locked(
    name: &str,
    tasks: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::time::timeout(STOP_TIMEOUT, tasks).await.unwrap_or_else(|_| {
        tracing::warn!(name, "tasks do not end, probably since a table is locked, and end with the process");
        Ok(())
    })
}

/// Closes the connections of a pool. One that still waits for a database which hangs ends with the process.
pub(super) async fn close(pool: &PgPool) {
    if tokio::time::timeout(CLOSE_TIMEOUT, pool.close()).await.is_err() {
        tracing::warn!("a connection to the database does not close, and ends with the process");
    }
}
