//! API keys, including revoked ones. Contract, sections 9 and 10.1.

use std::collections::HashMap;

use identity_domain::api_key::{Event, Lifetime, Scope, Secret};
use identity_domain::{self as domain, Kind, Moment};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::change::Change;
use crate::columns::{self, Column, Index, TableRow as _, cell, table_row};
use crate::identities::listing::ListPlace;
use crate::projection::{LoadedFold, LoadedModel, Projection};

/// The read model.
#[derive(Debug)]
pub struct ApiKeys;

/// What a key may do, without saying for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum KeyScope {
    /// May do everything in its organization.
    Admin,
    /// May do what the identity may do that it is bound to.
    Agent,
    /// May read the history of its organization.
    Auditor,
}

impl KeyScope {
    /// Its word in the table and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::Auditor => "auditor",
        }
    }
}

/// The table contains a word that this software does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown scope of a key: {0:?}")]
pub struct UnknownScope(String);

impl TryFrom<String> for KeyScope {
    type Error = UnknownScope;

    fn try_from(text: String) -> Result<Self, UnknownScope> {
        let known =
            [Self::Admin, Self::Agent, Self::Auditor].into_iter().find(|scope| scope.as_str() == text);
        known.ok_or(UnknownScope(text))
    }
}

cell!(KeyScope as "text", &'static str, self => self.as_str(), text);

table_row! {
    /// The row of a key.
    #[derive(Debug, Clone, PartialEq, Eq, FromRow)]
    pub struct Row {
        /// Its id, without the prefix that clients see.
        pub id: Uuid,
        /// Its organization.
        pub organization_id: String,
        /// Its scope.
        #[sqlx(try_from = "String")]
        pub scope: KeyScope,
        /// The identity that it is bound to; only an agent key has one.
        pub identity_id: Option<Uuid>,
        /// Its name.
        pub label: String,
        /// Free text.
        pub description: Option<String>,
        /// SHA-256 of the secret.
        pub secret_sha256: Vec<u8>,
        /// The last four characters of the secret.
        pub last4: String,
        /// The key that issued it, or `operator`.
        pub created_by: String,
        /// When it was issued.
        pub created_at: OffsetDateTime,
        /// When it was revoked.
        pub revoked_at: Option<OffsetDateTime>,
        /// When it expires, if it does.
        pub expires_at: Option<OffsetDateTime>,
        /// SHA-256 of the secret before the last rotation.
        pub previous_sha256: Option<Vec<u8>>,
        /// Until when that secret is valid.
        pub previous_valid_until: Option<OffsetDateTime>,
        /// When it was rotated last.
        pub rotated_at: Option<OffsetDateTime>,
    }
}

impl Row {
    /// How long its secrets are valid, unless it is revoked.
    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            expires_at: self.expires_at.map(Moment::from),
            previous_valid_until: self.previous_valid_until.map(Moment::from),
        }
    }

    /// When it last changed.
    pub fn updated_at(&self) -> OffsetDateTime {
        self.revoked_at.or(self.rotated_at).unwrap_or(self.created_at)
    }
}

impl Projection for ApiKeys {
    const NAME: &'static str = "api_keys";
    const VERSION: i32 = 2;
    const KIND: Kind = Kind::ApiKey;
    type Row = Row;

    fn fold(row: Option<Row>, recorded: &Recorded) -> Option<Row> {
        let domain::Event::ApiKey(event) = &recorded.event else {
            return row;
        };
        match event {
            Event::Issued(issue) => Some(Row {
                id: recorded.aggregate_id.parse().ok()?,
                organization_id: recorded.organization_id.clone(),
                scope: match issue.scope {
                    Scope::Admin => KeyScope::Admin,
                    Scope::Agent { .. } => KeyScope::Agent,
                    Scope::Auditor => KeyScope::Auditor,
                },
                identity_id: match issue.scope {
                    Scope::Admin | Scope::Auditor => None,
                    Scope::Agent { identity_id } => Some(identity_id),
                },
                label: issue.label.clone(),
                description: issue.description.clone(),
                secret_sha256: from_hexadecimal(&issue.secret_sha256),
                last4: issue.last4.clone(),
                created_by: issue.created_by.clone(),
                created_at: recorded.recorded_at,
                revoked_at: None,
                expires_at: issue.expires_at.map(OffsetDateTime::from),
                previous_sha256: None,
                previous_valid_until: None,
                rotated_at: None,
            }),
            Event::Rotated { secret_sha256, last4, expires_at, previous_valid_until } => row.map(|row| Row {
                secret_sha256: from_hexadecimal(secret_sha256),
                last4: last4.clone(),
                expires_at: expires_at.map(OffsetDateTime::from),
                previous_sha256: Some(row.secret_sha256),
                previous_valid_until: Some(OffsetDateTime::from(*previous_valid_until)),
                rotated_at: Some(recorded.recorded_at),
                ..row
            }),
            Event::Revoked {} => row.map(|row| Row { revoked_at: Some(recorded.recorded_at), ..row }),
        }
    }

    const COLUMNS: &'static [Column] = Row::COLUMNS;

    const INDEXES: &'static [Index] =
        &[Index::of("api_keys_newest", "(organization_id, created_at desc, id desc)")];

    fn copy(_id: &str, row: &Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        row.copy(writer);
        Ok(())
    }

    fn live() -> Box<dyn Fold> {
        Box::new(LoadedFold::<Self>::default())
    }
}

impl LoadedModel for ApiKeys {
    const IS_HANDED_OUT: bool = true;

    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Row>, ReadModelFailure> {
        let rows: Vec<Row> = columns::load(connection, Self::NAME, ids).await?;
        Ok(rows.into_iter().map(|row| (row.id.to_string(), row)).collect())
    }

    fn store(changes: &[Change<Row>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        columns::store(Self::NAME, changes, writes)
    }
}

/// Decodes a hexadecimal digest, up to the first character that is not hexadecimal. No secret has a shorter digest,
/// so such a key is never valid.
fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map_while(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect()
}

/// The keys with these ids that are not revoked and whose identity, if they are bound to one, is live. Whether one has expired is
/// asked again whenever it is presented, since it may be kept in memory until then.
pub async fn find_active(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    let columns = columns::names(Row::COLUMNS);
    sqlx::query_as(&format!(
        "select {columns}
         from read_model.api_keys
         where id = any($1)
           and revoked_at is null
           and (identity_id is null or exists (select from read_model.identities where identities.id = identity_id))"
    ))
    .bind(ids)
    .fetch_all(executor)
    .await
}

/// A key that may act, and the moment by the clock of the database.
#[derive(Debug, Clone, FromRow)]
pub struct Acting {
    /// Its row.
    #[sqlx(flatten)]
    pub row: Row,
    /// The moment.
    pub now: OffsetDateTime,
}

/// The key with this id if it is not revoked and its identity, if it is bound to one, is live. Neither changes before the
/// transaction of the `executor` ends. Nothing is waited for: if the key or the identity is being changed, the lock is not to be
/// had.
///
/// A revocation waits for the lock, and with it the committer. So a transaction that does nothing more for a second is ended.
pub async fn hold_active(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Acting>, sqlx::Error> {
    let columns = columns::names(Row::COLUMNS);
    sqlx::query_as(&format!(
        "select {columns}, clock_timestamp() as now,
                set_config('idle_in_transaction_session_timeout', '1000', true)
         from read_model.api_keys
         where id = $1
           and revoked_at is null
           and (identity_id is null
                or exists (select from read_model.identities where identities.id = identity_id for key share nowait))
         for share of api_keys nowait"
    ))
    .bind(id)
    .fetch_optional(executor)
    .await
}

/// The key with this id, revoked or not.
pub async fn find(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let query = format!("select {} from read_model.api_keys where id = $1", columns::names(Row::COLUMNS));
    sqlx::query_as(&query).bind(id).fetch_optional(executor).await
}

/// A key as the admins of its organization see it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ListedKey {
    /// Its row.
    #[sqlx(flatten)]
    pub row: Row,
    /// The handle of its identity, if it is bound to a live one.
    pub identity_handle: Option<String>,
    /// When it was last used, as far as that is kept.
    pub last_used_at: Option<OffsetDateTime>,
}

impl ListedKey {
    /// Whether it opens nothing any more: it was revoked, it has expired, or its identity is deleted.
    pub fn is_ended(&self, now: Moment) -> bool {
        let is_orphaned = self.row.identity_id.is_some() && self.identity_handle.is_none();
        let has_expired = self.row.lifetime().remaining(Secret::Present, now).is_none();
        self.row.revoked_at.is_some() || is_orphaned || has_expired
    }
}

/// The keys of an organization, newest first: at most `limit`, after the place `after`.
pub async fn list(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    after: Option<ListPlace>,
    limit: i64,
) -> Result<Vec<ListedKey>, sqlx::Error> {
    let columns = columns::names(Row::COLUMNS);
    sqlx::query_as(&format!(
        "select {columns},
                (select agent_handle from read_model.identities where identities.id = identity_id) as identity_handle,
                (select last_used_at from api_key_uses where key_id = api_keys.id) as last_used_at
         from read_model.api_keys
         where organization_id = $1
           and ($2::timestamptz is null or (created_at, id) < ($2, $3))
         order by created_at desc, id desc
         limit $4"
    ))
    .bind(organization_id)
    .bind(after.map(|place| place.created_at))
    .bind(after.map(|place| place.id))
    .bind(limit)
    .fetch_all(executor)
    .await
}
