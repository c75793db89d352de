//! The committer's connections, and the time limits on them.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

use crate::error::BatchError;
use crate::session::{self, Setting};

/// A connection that was idle for longer is pinged before it is used. Under load none is idle that long.
pub const MAX_UNCHECKED_IDLE_TIME: Duration = Duration::from_millis(10);

/// The wait before the next attempt to get a connection when Postgres has none left.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A connection that no batch uses at present.
pub(super) struct IdleConnection {
    connection: PgConnection,
    since: Instant,
}

impl IdleConnection {
    pub(super) fn from_now(connection: PgConnection) -> Self {
        Self { connection, since: Instant::now() }
    }

    /// The connection, if it still is one. One that was idle may have been closed from outside, so it is pinged: otherwise a
    /// batch would fail with it.
    pub(super) async fn if_alive(self) -> Option<PgConnection> {
        let Self { mut connection, since } = self;
        let is_alive = since.elapsed() < MAX_UNCHECKED_IDLE_TIME || connection.ping().await.is_ok();
        is_alive.then_some(connection)
    }
}

/// Opens the committer's connections.
#[derive(Clone)]
pub(super) struct Connector {
    options: PgConnectOptions,
    /// The pool whose connections are taken if Postgres has no room left.
    readers: Option<PgPool>,
}

impl Connector {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let options = session::beginning_with(options.application_name(APPLICATION_NAME), &SETTINGS);
        Self { options, readers: None }
    }

    pub(super) fn before(self, readers: PgPool) -> Self {
        Self { readers: Some(readers), ..self }
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        as_committer(PgConnection::connect_with(&self.options).await?).await
    }

    /// The idle connection, or a new one.
    pub(super) async fn open_or(&self, idle: Option<IdleConnection>) -> Result<PgConnection, sqlx::Error> {
        if let Some(idle) = idle
            && let Some(connection) = idle.if_alive().await
        {
            return Ok(connection);
        }
        self.connect().await
    }

    /// A new writer connection. If Postgres has no room left, a connection is taken from the readers. The caller limits the
    /// time.
    pub(super) async fn open_before_readers(&self) -> Result<PgConnection, sqlx::Error> {
        match (self.connect().await, &self.readers) {
            (Err(error), Some(readers)) if is_refused_for_want_of_room(&error) => tokio::select! {
                reader = take_from(readers) => as_committer(reader).await,
                opened = self.open_once_there_is_room() => opened,
            },
            (opened, _) => opened,
        }
    }

    async fn open_once_there_is_room(&self) -> Result<PgConnection, sqlx::Error> {
        loop {
            tokio::time::sleep(RETRY_INTERVAL).await;
            match self.connect().await {
                Err(error) if is_refused_for_want_of_room(&error) => {}
                opened => return opened,
            }
        }
    }
}

/// Takes a connection out of the pool, which opens another one as soon as there is room. A task that waits in `acquire`
/// may be told by the pool to open a connection, and then does not see those that are returned. So `try_acquire` looks for
/// idle ones at the same time.
async fn take_from(readers: &PgPool) -> PgConnection {
    let queue = async {
        loop {
            if let Ok(reader) = readers.acquire().await {
                return reader;
            }
        }
    };
    let look = async {
        loop {
            if let Some(reader) = readers.try_acquire() {
                return reader;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    };
    tokio::select! {
        reader = queue => reader.detach(),
        reader = look => reader.detach(),
    }
}

/// Whether the server, the role or the database already has as many connections as it may have.
fn is_refused_for_want_of_room(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "53300")
}

/// Waits for Postgres, but not longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, BatchError>>,
) -> Result<T, BatchError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(BatchError::Timeout(limit)))
}

/// The name of the committer's sessions in `pg_stat_activity`.
const APPLICATION_NAME: &str = "identityd committer";

/// The settings of the committer's sessions.
///
/// **Time limits.** Every wait has an end, so that a committer that lost its network cannot keep `log_head` locked.
///
/// **Plans.** Every statement of a batch selects rows by keys, and the best plan always goes through the index of those
/// keys. Postgres would otherwise plan for the table sizes of its last statistics, and read a table that has grown
/// since from end to end, until the statistics are updated. Statements that join keys fix the order of the join
/// themselves: the looked-up table stands in a lateral subquery with `offset 0`, which the planner does not flatten.
const SETTINGS: [Setting<'static>; 13] = [
    ("application_name", APPLICATION_NAME),
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("idle_session_timeout", "0"),
    ("statement_timeout", "10s"),
    ("lock_timeout", "10s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("search_path", "read_model,public"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// Gives a connection the settings of the committer.
async fn as_committer(mut connection: PgConnection) -> Result<PgConnection, sqlx::Error> {
    session::set(&mut connection, &SETTINGS).await?;
    Ok(connection)
}
