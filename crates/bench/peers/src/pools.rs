//! Pools of both versions of sqlx, with the same settings: all connections are open before the measurement begins,
//! and none is pinged when it is taken.

/// A pool for peers that use sqlx 0.9.
pub(crate) async fn open(database_url: &str, connections: u32) -> sqlx::Result<sqlx::PgPool> {
    sqlx::postgres::PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .test_before_acquire(false)
        .connect(database_url)
        .await
}

/// A pool for peers that use sqlx 0.8.
pub(crate) async fn open_08(
    database: sqlx_08::postgres::PgConnectOptions,
    connections: u32,
) -> sqlx_08::Result<sqlx_08::PgPool> {
    sqlx_08::postgres::PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .test_before_acquire(false)
        .connect_with(database)
        .await
}
