//! An advisory lock on the signing key. Each service holds it shared while it runs; replacing the key needs it exclusively.

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgPool};

/// A connection that listens and has the lock shared, until it ends; `None` while somebody replaces the key.
///
/// It is the only one of a pool of its own, with the options of `pool`. A listener gives its connection back only after Postgres
/// has answered once more, and a Postgres that hangs would keep the connection of a pool that others use.
pub async fn listener(pool: &PgPool) -> Result<Option<PgListener>, sqlx::Error> {
    let own = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let mut listener =
        PgListener::connect_with(&own.connect_lazy_with(pool.connect_options().as_ref().clone())).await?;
    // A new connection would not have the lock.
    listener.eager_reconnect(false);
    let query = "select pg_try_advisory_lock_shared(hashtextextended('identityd signing key', 0))";
    let taken: bool = sqlx::query_scalar(query).fetch_one(&mut listener).await?;
    Ok(taken.then_some(listener))
}

/// How long to wait for the connections of a service that has just stopped, in a setting of Postgres.
const LOCK_TIMEOUT: &str = "3s";

/// The `SQLSTATE` of a lock that was not granted in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Takes the lock exclusively, until the connection ends. Returns false if somebody else still has it after 3 s.
pub async fn lock_exclusively(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    limit_waiting(connection, LOCK_TIMEOUT).await?;
    let taken = sqlx::query("select pg_advisory_lock(hashtextextended('identityd signing key', 0))")
        .execute(&mut *connection)
        .await;
    limit_waiting(connection, "0").await?;
    match taken {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn limit_waiting(connection: &mut PgConnection, limit: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('lock_timeout', $1, false)").bind(limit).execute(connection).await?;
    Ok(())
}
