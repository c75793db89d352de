//! Writes that may be repeated: the answer to a write is kept in the transaction of the write itself, so a repetition
//! finds it if and only if the write happened.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{FromRow, PgConnection, PgExecutor};

use crate::log::{Append, Committed};

/// A key that the client chose for a write, and what the write was.
#[derive(Clone)]
pub struct Repeatable {
    /// The client's key, unique within its organization among those that share a
    /// [scope](crate::Actor::idempotency_scope).
    pub key: String,
    /// Digest of the request, to tell a repetition from another request under the same key.
    pub fingerprint: [u8; 32],
    /// Composes the answer that is kept.
    pub answer: Arc<dyn Compose>,
}

impl fmt::Debug for Repeatable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Repeatable").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Composes the answer to a write within its transaction, after every read model was brought up to date.
#[async_trait]
pub trait Compose: Send + Sync {
    /// The answer to what was committed.
    async fn compose(
        &self,
        connection: &mut PgConnection,
        committed: &Committed,
    ) -> Result<Kept, NotComposed>;
}

/// An answer could not be composed.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be composed")]
pub struct NotComposed {
    /// Whether the database was away, rather than unwilling.
    pub is_outage: bool,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// HTTP status.
    pub status: u16,
    /// The body; empty if there is none.
    pub body: String,
    /// The entity tag.
    pub entity_tag: String,
}

/// A write under a key.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Record {
    /// Digest of the request.
    pub fingerprint: Vec<u8>,
    /// HTTP status of the answer.
    pub status: i16,
    /// The body of the answer.
    pub body: String,
    /// The entity tag of the answer; none if it was kept before tags were.
    pub entity_tag: Option<String>,
}

/// The write under this key, if there was one. Records from before there were scopes count for every scope.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    scope: &str,
    key: &str,
) -> Result<Option<Record>, sqlx::Error> {
    sqlx::query_as(
        "select fingerprint, status, body, entity_tag
         from idempotency_records
         where organization_id = $1 and scope = any(array[$2, '']) and idempotency_key = $3
         order by scope desc
         limit 1",
    )
    .bind(organization_id)
    .bind(scope)
    .bind(key)
    .fetch_optional(executor)
    .await
}

/// Forgets what is older than `retention`, and says how much that was.
pub async fn prune(executor: impl PgExecutor<'_>, retention: Duration) -> Result<u64, sqlx::Error> {
    let pruned =
        sqlx::query("delete from idempotency_records where recorded_at < now() - make_interval(secs => $1)")
            .bind(retention.as_secs_f64())
            .execute(executor)
            .await?;
    Ok(pruned.rows_affected())
}

/// A key with its organization and its scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, FromRow)]
pub(crate) struct UsedKey {
    organization_id: String,
    scope: String,
    key: String,
}

impl UsedKey {
    /// The key of a command that may be repeated.
    pub(crate) fn of(append: &Append) -> Option<Self> {
        let repeatable = append.repeatable.as_ref()?;
        Some(Self {
            organization_id: append.organization_id.clone(),
            scope: append.actor.idempotency_scope(),
            key: repeatable.key.clone(),
        })
    }
}

/// Keys that were used.
pub(crate) type Used = HashSet<UsedKey>;

/// Which of the keys of a batch were used before.
pub(crate) async fn used(connection: &mut PgConnection, appends: &[&Append]) -> Result<Used, sqlx::Error> {
    let wanted: Vec<UsedKey> = appends.iter().filter_map(|append| UsedKey::of(append)).collect();
    if wanted.is_empty() {
        return Ok(Used::new());
    }
    let used: Vec<UsedKey> = sqlx::query_as(
        "select wanted.organization_id, wanted.scope, wanted.key
         from unnest($1::text[], $2::text[], $3::text[]) as wanted (organization_id, scope, key)
         cross join lateral (
             select from idempotency_records as record
             where record.organization_id = wanted.organization_id
               and record.scope = any(array[wanted.scope, ''])
               and record.idempotency_key = wanted.key
             limit 1
         ) as used",
    )
    .bind(wanted.iter().map(|key| key.organization_id.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|key| key.scope.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(used.into_iter().collect())
}

/// Keeps the answer to a write.
pub(crate) async fn keep(
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
