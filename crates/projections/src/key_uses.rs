//! When keys were last used. This is no read model: no event tells of it, so no rebuild touches it.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

/// A key and when it was used.
pub type Use = (Uuid, OffsetDateTime);

/// Stores the last use of each key with one statement. A later use that another process has stored stays.
pub async fn store(executor: impl PgExecutor<'_>, mut uses: Vec<Use>) -> Result<(), sqlx::Error> {
    // Statements of several processes lock the rows in the same order.
    uses.sort_unstable();
    let (keys, moments): (Vec<Uuid>, Vec<OffsetDateTime>) = uses.into_iter().unzip();
    sqlx::query(
        "insert into api_key_uses as stored (key_id, last_used_at)
         select * from unnest($1::uuid[], $2::timestamptz[])
         on conflict on constraint api_key_uses_pkey
         do update set last_used_at = greatest(stored.last_used_at, excluded.last_used_at)",
    )
    .bind(keys)
    .bind(moments)
    .execute(executor)
    .await?;
    Ok(())
}

/// When a key was last used, as far as that is stored.
pub async fn last(executor: impl PgExecutor<'_>, key: Uuid) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar("select last_used_at from api_key_uses where key_id = $1")
        .bind(key)
        .fetch_optional(executor)
        .await
}
