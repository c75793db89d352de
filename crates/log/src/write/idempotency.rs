//! Idempotency keys. The answer to a write with a key is stored in the transaction of the write, so a repetition
//! finds the answer if and only if the write was committed.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgExecutor, PgPool};

use crate::append::Append;

pub use crate::append::{Compose, Kept, NotComposed, Repeatable};

/// The record of a write with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Record {
    /// Digest of the request.
    pub fingerprint: Vec<u8>,
    /// HTTP status of the answer; 0 if there is no answer yet.
    pub status: i16,
    /// The body of the answer.
    pub body: String,
    /// The entity tag of the answer; `None` in records that are older than entity tags.
    pub entity_tag: Option<String>,
}

impl Record {
    /// Whether the write has begun, and has no answer yet.
    pub const fn is_begun(&self) -> bool {
        self.status == BEGUN
    }
}

/// The status of a write outside the log that has begun and cannot be taken back. Such a record counts for [`BEGUN_FOR`].
const BEGUN: i16 = 0;

/// How long a write that has begun is waited for. After that time its process is dead, or has lost the database.
const BEGUN_FOR: Duration = Duration::from_mins(1);

/// The record of the write with this key, if there is one: that of the request with this fingerprint, if several writes were carried
/// out with the key at the same time. A record that is older than scopes has the empty scope, and counts for every scope.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    scope: &str,
    (key, fingerprint): (&str, &[u8]),
) -> Result<Option<Record>, sqlx::Error> {
    sqlx::query_as(
        "select fingerprint, status, body, entity_tag
         from idempotency_records
         where organization_id = $1 and scope = any(array[$2, $2 || ' outside', '']) and idempotency_key = $3
           and (status <> $5 or recorded_at > now() - make_interval(secs => $6))
         order by fingerprint = $4 desc, scope desc
         limit 1",
    )
    .bind(organization_id)
    .bind(scope)
    .bind(key)
    .bind(fingerprint)
    .bind(BEGUN)
    .bind(BEGUN_FOR.as_secs_f64())
    .fetch_optional(executor)
    .await
}

/// Stores that a write outside the log begins that cannot be taken back. Returns false, and stores nothing, if the key was used, or
/// if another process has begun a write with it less than a minute ago.
pub async fn begin_outside(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    scope: &str,
    request: (&str, &[u8]),
) -> Result<bool, sqlx::Error> {
    keep_outside(executor, organization_id, scope, request, (0, "")).await
}

/// Deletes the record of a write that began: it was not carried out.
pub async fn forget_begun(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    scope: &str,
    (key, fingerprint): (&str, &[u8]),
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from idempotency_records
         where organization_id = $1 and scope = $2 || ' outside' and idempotency_key = $3 and fingerprint = $4 and status = $5",
    )
    .bind(organization_id)
    .bind(scope)
    .bind(key)
    .bind(fingerprint)
    .bind(BEGUN)
    .execute(executor)
    .await
    .map(drop)
}

/// Stores the answer to a write that is not in the log, in the transaction of that write if it has one. Returns false, and stores
/// nothing, if another write has one under this key. The answer takes the place of the record that the same write began, and of one
/// that began so long ago that its process is dead.
///
/// The scope of such a record is another one, so no transaction that has `log_head` locked ever waits for it.
pub async fn keep_outside(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    scope: &str,
    (key, fingerprint): (&str, &[u8]),
    (status, body): (u16, &str),
) -> Result<bool, sqlx::Error> {
    let stored = sqlx::query(
        "insert into idempotency_records as known (organization_id, scope, idempotency_key, fingerprint, status, body)
         select $1, $2 || ' outside', $3, $4, $5, $6
         where not exists (select from idempotency_records
                           where organization_id = $1 and scope = any(array[$2, '']) and idempotency_key = $3)
         on conflict on constraint idempotency_records_pkey do update
         set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body, recorded_at = now()
         where known.status = $7
           and (known.recorded_at <= now() - make_interval(secs => $8)
                or known.fingerprint = excluded.fingerprint and excluded.status <> $7)",
    )
    .bind(organization_id)
    .bind(scope)
    .bind(key)
    .bind(fingerprint)
    .bind(i16::try_from(status).unwrap_or(i16::MAX))
    .bind(body)
    .bind(BEGUN)
    .bind(BEGUN_FOR.as_secs_f64())
    .execute(executor)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// How many records are deleted in one transaction. A record can have megabytes.
const PRUNED_AT_A_TIME: i64 = 1_000;

/// Deletes the records that are older than `retention`. Returns how many there were.
pub async fn prune(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    let mut pruned = 0;
    loop {
        let done = sqlx::query(
            "delete from idempotency_records
             where ctid = any(array(select ctid from idempotency_records
                                    where recorded_at < now() - make_interval(secs => $1)
                                    order by recorded_at
                                    limit $2
                                    for update skip locked))",
        )
        .bind(retention.as_secs_f64())
        .bind(PRUNED_AT_A_TIME)
        .execute(pool)
        .await?;
        pruned += done.rows_affected();
        if i64::try_from(done.rows_affected()).unwrap_or(i64::MAX) < PRUNED_AT_A_TIME {
            return Ok(pruned);
        }
    }
}

/// An idempotency key with its organization and its scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, FromRow)]
pub(super) struct UsedKey {
    organization_id: String,
    scope: String,
    key: String,
}

impl UsedKey {
    /// The idempotency key of a command, if it has one.
    pub(super) fn of(append: &Append) -> Option<Self> {
        let repeatable = append.repeatable.as_ref()?;
        Some(Self {
            organization_id: append.organization_id.clone(),
            scope: append.actor.idempotency_scope(),
            key: repeatable.key.clone(),
        })
    }
}

/// Idempotency keys that were used before.
pub(super) type UsedKeys = HashSet<UsedKey>;

/// Those idempotency keys of a batch that were used before.
pub(super) async fn used_keys(
    connection: &mut PgConnection,
    appends: &[&Append],
) -> Result<UsedKeys, sqlx::Error> {
    let wanted: Vec<UsedKey> = appends.iter().filter_map(|append| UsedKey::of(append)).collect();
    if wanted.is_empty() {
        return Ok(UsedKeys::new());
    }
    let used: Vec<UsedKey> = sqlx::query_as(
        "select wanted.organization_id, wanted.scope, wanted.key
         from unnest($1::text[], $2::text[], $3::text[]) as wanted (organization_id, scope, key)
         cross join lateral (
             select from idempotency_records as record
             where record.organization_id = wanted.organization_id
               and record.scope = any(array[wanted.scope, wanted.scope || ' outside', ''])
               and record.idempotency_key = wanted.key
               and record.status <> $4
             limit 1
         ) as used",
    )
    .bind(wanted.iter().map(|key| key.organization_id.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|key| key.scope.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
    .bind(BEGUN)
    .fetch_all(connection)
    .await?;
    Ok(used.into_iter().collect())
}

/// Stores the answer to a write.
pub(super) async fn keep(
    connection: &mut PgConnection,
    append: &Append,
    repeatable: &Repeatable,
    kept: &Kept,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into idempotency_records (organization_id, scope, idempotency_key, fingerprint, status, body, entity_tag)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&append.organization_id)
    .bind(append.actor.idempotency_scope())
    .bind(&repeatable.key)
    .bind(repeatable.fingerprint.as_slice())
    .bind(i16::try_from(kept.status).unwrap_or(i16::MAX))
    .bind(&kept.body)
    .bind(&kept.entity_tag)
    .execute(connection)
    .await?;
    Ok(())
}
