//! Pools of connections to the database, with the settings that queries of the service need.

use std::time::{Duration, Instant};

use identity_log::MAX_UNCHECKED_IDLE_TIME;
use identity_log::primary::Primary;
use identity_log::session;
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

use crate::database;

/// How long a request waits for a connection of the pool before it is answered with 503.
const POOL_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A pool that connects when it is used, with this many connections at most.
pub(super) fn lazy_pool(
    database_url: &SecretString,
    connections: u32,
    primary: &Primary,
) -> anyhow::Result<PgPool> {
    let (primary, watched) = (primary.clone(), primary.clone());
    // A connection is checked when it is given back. A second check when it is taken costs a round trip, so that is
    // done only if the connection was idle for `MAX_UNCHECKED_IDLE_TIME` and may have been closed meanwhile.
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(POOL_ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let is_lost = Instant::now().checked_sub(meta.age).is_some_and(|opened| watched.has_lost(opened));
            let is_fresh = meta.idle_for < MAX_UNCHECKED_IDLE_TIME;
            Box::pin(async move { Ok(!is_lost && (is_fresh || connection.ping().await.is_ok())) })
        })
        .after_connect(|connection, _| Box::pin(session::set(connection, &session::READER_SETTINGS)))
        .after_release(move |connection, _| {
            let primary = primary.clone();
            // A request that was cancelled may leave a statement that still runs. The connection is free when the
            // statement has ended. If the machine of the database hangs, it never ends, and the connection is dropped.
            Box::pin(async move { Ok(matches!(primary.unless_silent(connection.flush()).await, Ok(Ok(())))) })
        });
    Ok(pool.connect_lazy_with(reading_options(database_url)?))
}

/// The options of connections for reading.
pub(super) fn reading_options(database_url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    let options = database::options(database_url)?;
    let options = options.application_name("identityd").disable_statement_logging();
    Ok(session::beginning_with(options, &session::READER_SETTINGS))
}
