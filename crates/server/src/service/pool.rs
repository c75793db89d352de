//! Pools of connections to the database, with the settings that queries of the service need.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use identity_log::MAX_UNCHECKED_IDLE_TIME;
use identity_log::primary::Primary;
use identity_log::session;
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

use crate::database;

/// The name of connections that answer requests.
pub(super) const APPLICATION_NAME: &str = "identityd";

/// How many connections are for the queue and the deliveries of webhooks, so that these do not compete with clients.
const WEBHOOK_CONNECTIONS: u32 = 3;

/// How long a request waits for a connection of the pool before it is answered with 503.
const POOL_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a session that began read-only is used. Then another one shows whether that is still the default.
const MAX_READ_ONLY_AGE: Duration = Duration::from_secs(1);

/// When a session of a pool last began read-only.
#[derive(Debug, Clone, Default)]
struct ReadOnly(Arc<Mutex<Option<Instant>>>);

impl ReadOnly {
    fn note(&self) {
        *self.last() = Some(Instant::now());
    }

    /// Whether a session may have begun read-only, and is old enough to be replaced.
    fn is_outdated(&self, age: Duration) -> bool {
        age > MAX_READ_ONLY_AGE && self.last().is_some_and(|last| age + MAX_READ_ONLY_AGE > last.elapsed())
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool that connects when it is used, with this many connections at most. `pg_stat_activity` shows them under `name`.
pub(super) fn lazy_pool(
    database_url: &SecretString,
    name: &str,
    connections: u32,
    primary: &Primary,
) -> anyhow::Result<PgPool> {
    let (primary, watched) = (primary.clone(), primary.clone());
    let read_only = ReadOnly::default();
    let noted = read_only.clone();
    // A connection is checked when it is given back. A second check when it is taken costs a round trip, so that is
    // done only if the connection was idle for `MAX_UNCHECKED_IDLE_TIME` and may have been closed meanwhile.
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(POOL_ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let is_lost = Instant::now().checked_sub(meta.age).is_some_and(|opened| watched.has_lost(opened));
            let is_useful = !is_lost && !read_only.is_outdated(meta.age);
            let is_fresh = meta.idle_for < MAX_UNCHECKED_IDLE_TIME;
            Box::pin(async move { Ok(is_useful && (is_fresh || connection.ping().await.is_ok())) })
        })
        .after_connect(move |connection, _| {
            let noted = noted.clone();
            Box::pin(async move {
                session::set(connection, &session::READER_SETTINGS).await?;
                if session::is_read_only(connection).await? {
                    noted.note();
                }
                Ok(())
            })
        })
        .after_release(move |connection, _| {
            let primary = primary.clone();
            // A request that was cancelled may leave a statement that still runs. The connection is free when the
            // statement has ended. If the machine of the database hangs, it never ends, and the connection is dropped.
            Box::pin(async move { Ok(matches!(primary.unless_silent(connection.flush()).await, Ok(Ok(())))) })
        });
    Ok(pool.connect_lazy_with(reading_options(database_url)?.application_name(name)))
}

/// A pool for webhooks.
pub(super) fn webhook_pool(database_url: &SecretString, primary: &Primary) -> anyhow::Result<PgPool> {
    lazy_pool(database_url, "identityd webhooks", WEBHOOK_CONNECTIONS, primary)
}

/// The options of connections for reading.
pub(super) fn reading_options(database_url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    let options = database::options(database_url)?;
    let options = options.application_name(APPLICATION_NAME).disable_statement_logging();
    Ok(session::beginning_with(options, &session::READER_SETTINGS))
}
