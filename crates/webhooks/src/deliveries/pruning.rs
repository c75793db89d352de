//! Deletes old deliveries.

use std::time::Duration;

use sqlx::PgPool;

/// How many rows are deleted at a time.
const PRUNED_AT_A_TIME: i64 = 1_000;

/// Deletes deliveries that are older than `retention`. Returns how many.
pub async fn prune(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    prune_table(pool, "webhook_deliveries", retention).await
}

/// Deletes what has waited to be sent for longer than `retention`. Returns how many deliveries.
pub async fn prune_waiting(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    prune_table(pool, "webhook_queue", retention).await
}

async fn prune_table(pool: &PgPool, table: &str, retention: Duration) -> Result<u64, sqlx::Error> {
    let statement = format!(
        "delete from {table}
         where id in (select id from {table} where created_at < now() - make_interval(secs => $1)
                      order by created_at limit $2)"
    );
    let mut pruned = 0;
    loop {
        let done = sqlx::query(&statement).bind(retention.as_secs_f64()).bind(PRUNED_AT_A_TIME).execute(pool);
        let rows = done.await?.rows_affected();
        pruned += rows;
        if i64::try_from(rows).unwrap_or(i64::MAX) < PRUNED_AT_A_TIME {
            return Ok(pruned);
        }
    }
}
