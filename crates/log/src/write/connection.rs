//! The committer's connections, and the time limits on them.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::error::BatchError;

/// A connection that was idle for longer is pinged before it is used. Under load none is idle that long.
pub const MAX_UNCHECKED_IDLE_TIME: Duration = Duration::from_millis(10);

/// A connection that no batch uses at present.
pub(super) struct IdleConnection {
    connection: PgConnection,
    since: Instant,
}

impl IdleConnection {
    pub(super) fn from_now(connection: PgConnection) -> Self {
        Self { connection, since: Instant::now() }
    }
}

/// The idle connection, or a new one. A connection that was idle may have been closed from outside, so
/// it is pinged first: otherwise a batch would fail with it.
pub(super) async fn open(
    idle: Option<IdleConnection>,
    options: &PgConnectOptions,
) -> Result<PgConnection, sqlx::Error> {
    if let Some(IdleConnection { mut connection, since }) = idle
        && (since.elapsed() < MAX_UNCHECKED_IDLE_TIME || connection.ping().await.is_ok())
    {
        return Ok(connection);
    }
    PgConnection::connect_with(options).await
}

/// Waits for Postgres, but not longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, BatchError>>,
) -> Result<T, BatchError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(BatchError::Timeout(limit)))
}

/// The options of the committer's connections.
///
/// **Time limits.** Every wait has an end, so that a lost client cannot keep `log_head` locked.
///
/// **Plans.** Every statement of a batch selects rows by keys, and the best plan always goes through the index of those
/// keys. Postgres would otherwise plan for the table sizes of its last statistics, and read a table that has grown
/// since from end to end, until the statistics are updated. Statements that join keys fix the order of the join
/// themselves: the looked-up table stands in a lateral subquery with `offset 0`, which the planner does not flatten.
pub(super) fn committer_options(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("identityd committer").options([
        ("default_transaction_isolation", r"read\ committed"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("idle_session_timeout", "0"),
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_keepalives_count", "3"),
        ("search_path", "read_model,public"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ])
}
