//! The lock that says that a process writes and signs with the signing key. Every service has it shared, for as long as it runs;
//! whoever replaces the key needs it alone.

use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool};

/// A connection that listens and has the lock shared, until it ends; `None` while somebody replaces the key.
pub async fn listener(pool: &PgPool) -> Result<Option<PgListener>, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    let query = "select pg_try_advisory_lock_shared(hashtextextended('identityd signing key', 0))";
    let taken: bool = sqlx::query_scalar(query).fetch_one(&mut listener).await?;
    Ok(taken.then_some(listener))
}

/// Takes the lock alone, until the connection ends. Returns whether nobody else had it.
pub(super) async fn take_alone(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('identityd signing key', 0))")
        .fetch_one(connection)
        .await
}
