//! Encrypted content of aggregates, which is kept beside the history and not in it, so that it can be deleted.
//!
//! A command brings the changes of its ciphertexts along ([`Append::ciphertexts`](crate::Append)). They are written in the
//! transaction of its events: after a crash there are both or neither. The event that ends an aggregate deletes all of its
//! ciphertexts, in the same way (`write/ciphertexts.rs`).

use std::fmt;

use identity_domain::Kind;
use sqlx::{FromRow, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

/// A change of one ciphertext of an aggregate. The name tells several of one aggregate apart.
#[derive(Clone, PartialEq, Eq)]
pub enum CiphertextChange {
    /// Stores it, in place of the one with this name.
    Put {
        /// Its name.
        name: String,
        /// What is stored.
        ciphertext: Vec<u8>,
    },
    /// Deletes the one with this name.
    Delete {
        /// Its name.
        name: String,
    },
}

impl fmt::Debug for CiphertextChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (change, name) = match self {
            Self::Put { name, .. } => ("Put", name),
            Self::Delete { name } => ("Delete", name),
        };
        formatter.debug_tuple(change).field(name).finish()
    }
}

/// A ciphertext as it is stored.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct Ciphertext {
    /// The aggregate that it belongs to.
    pub aggregate_id: String,
    /// Its name.
    pub name: String,
    /// What is stored.
    pub ciphertext: Vec<u8>,
    /// The moment of the event that stored it.
    pub recorded_at: OffsetDateTime,
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Ciphertext").field(&self.aggregate_id).field(&self.name).finish()
    }
}

/// The ciphertexts of aggregates of an organization, in order of their names.
pub async fn of_aggregates(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    kind: Kind,
    aggregate_ids: &[String],
) -> Result<Vec<Ciphertext>, sqlx::Error> {
    sqlx::query_as(
        "select aggregate_id, name, ciphertext, recorded_at
         from ciphertexts
         where aggregate_type = $2 and aggregate_id = any($3) and organization_id = $1
         order by name, aggregate_id",
    )
    .bind(organization_id)
    .bind(kind.as_str())
    .bind(aggregate_ids)
    .fetch_all(executor)
    .await
}

/// When the newest ciphertext with this name was stored in an organization.
pub async fn newest(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    kind: Kind,
    name: &str,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar(
        "select max(recorded_at) from ciphertexts where organization_id = $1 and aggregate_type = $2 and name = $3",
    )
    .bind(organization_id)
    .bind(kind.as_str())
    .bind(name)
    .fetch_one(executor)
    .await
}

/// The ciphertext of one aggregate under a name, if it is there.
pub(crate) async fn of_aggregate(
    executor: impl PgExecutor<'_>,
    kind: Kind,
    aggregate_id: Uuid,
    name: &str,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar(
        "select ciphertext from ciphertexts where aggregate_type = $1 and aggregate_id = $2 and name = $3",
    )
    .bind(kind.as_str())
    .bind(aggregate_id.to_string())
    .bind(name)
    .fetch_optional(executor)
    .await
}

/// Whether any of these ciphertexts is there: those of aggregates of a type, under a name.
pub async fn is_any_there(
    executor: impl PgExecutor<'_>,
    names: &[(Kind, &str)],
) -> Result<bool, sqlx::Error> {
    let (kinds, names): (Vec<&str>, Vec<&str>) =
        names.iter().map(|(kind, name)| (kind.as_str(), *name)).unzip();
    sqlx::query_scalar(
        "select exists (
             select from unnest($1::text[], $2::text[]) as wanted (kind, wanted_name)
             cross join lateral (
                 select from ciphertexts where aggregate_type = kind and name = wanted_name limit 1
             ) as known
         )",
    )
    .bind(kinds)
    .bind(names)
    .fetch_one(executor)
    .await
}

/// All ciphertexts of aggregates of a type under this name, each with its aggregate.
pub(crate) async fn all_named(
    executor: impl PgExecutor<'_>,
    kind: Kind,
    name: &str,
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "select aggregate_id::uuid, ciphertext
         from ciphertexts
         where aggregate_type = $1 and name = $2
         order by aggregate_id",
    )
    .bind(kind.as_str())
    .bind(name)
    .fetch_all(executor)
    .await
}
