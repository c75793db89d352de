//! Peers over Postgres: pools of both versions of sqlx, with the same settings, and what is in a table. All connections
//! are open before the measurement begins, and none is pinged when it is taken.

use sqlx::{Connection as _, PgConnection};

/// Postgres accepts 100 connections, of which some are used otherwise.
const MAX_CONNECTIONS: u32 = 90;

/// How many connections a pool has.
pub(crate) fn connections(writers: u32) -> u32 {
    writers.min(MAX_CONNECTIONS)
}

/// The result of a query that counts.
pub(crate) async fn count(database_url: &str, query: &'static str) -> anyhow::Result<usize> {
    let mut connection = PgConnection::connect(database_url).await?;
    let count: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
    Ok(usize::try_from(count)?)
}

/// A pool for peers that use sqlx 0.9.
pub(crate) async fn open(database_url: &str, writers: u32) -> sqlx::Result<sqlx::PgPool> {
    sqlx::postgres::PgPoolOptions::new()
        .min_connections(connections(writers))
        .max_connections(connections(writers))
        .test_before_acquire(false)
        .connect(database_url)
        .await
}

/// A pool for peers that use sqlx 0.8.
pub(crate) async fn open_08(
    database: sqlx_08::postgres::PgConnectOptions,
    writers: u32,
) -> sqlx_08::Result<sqlx_08::PgPool> {
    sqlx_08::postgres::PgPoolOptions::new()
        .min_connections(connections(writers))
        .max_connections(connections(writers))
        .test_before_acquire(false)
        .connect_with(database)
        .await
}
