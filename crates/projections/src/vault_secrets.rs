//! Vault secrets that are not deleted, without their content. Contract, section 10.4. [`shown`] adds their rules and content.

pub mod shown;

use std::collections::HashMap;

use identity_domain::vault_secret::{Event, Registration, SecretType};
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes, read};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::change::Change;
use crate::columns::{self, Column, Index, TableRow as _, table_row};
use crate::identities::Viewer;
use crate::projection::{LoadedFold, LoadedModel, Projection};
use crate::versioned::Versioned;

/// The read model.
#[derive(Debug)]
pub struct VaultSecrets;

table_row! {
    /// The row of a secret.
    #[derive(Debug, Clone, PartialEq, Eq, FromRow)]
    pub struct Row {
        /// Its id.
        pub id: Uuid,
        /// Its organization.
        pub organization_id: String,
        /// Its name.
        pub name: String,
        /// Wire name of its kind.
        pub secret_type: String,
        /// Free text.
        pub description: Option<String>,
        /// When it was registered.
        pub created_at: OffsetDateTime,
        /// When it last changed. Only an older version of this software leaves it out.
        pub updated_at: Option<OffsetDateTime>,
    }
}

impl Projection for VaultSecrets {
    const NAME: &'static str = "vault_secrets";
    const VERSION: i32 = 2;
    const KIND: Kind = Kind::VaultSecret;
    type Row = Row;

    fn fold(row: Option<Row>, recorded: &Recorded) -> Option<Row> {
        let domain::Event::VaultSecret(event) = &recorded.event else {
            return row;
        };
        match (row, event) {
            (_, Event::Registered(registration)) => born(recorded, registration),
            (_, Event::Deleted {}) | (None, _) => None,
            (Some(row), event) => Some(Row { updated_at: Some(recorded.recorded_at), ..changed(row, event) }),
        }
    }

    const COLUMNS: &'static [Column] = Row::COLUMNS;

    const INDEXES: &'static [Index] =
        &[Index::of("vault_secrets_newest", "(organization_id, created_at desc, id desc)")];

    fn copy(_id: &str, row: &Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        row.copy(writer);
        Ok(())
    }

    fn live() -> Box<dyn Fold> {
        Box::new(LoadedFold::<Self>::default())
    }
}

impl LoadedModel for VaultSecrets {
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

fn born(recorded: &Recorded, registration: &Registration) -> Option<Row> {
    Some(Row {
        id: recorded.aggregate_id.parse().ok()?,
        organization_id: recorded.organization_id.clone(),
        name: registration.name.clone(),
        secret_type: type_name(registration.secret_type).to_owned(),
        description: registration.description.clone(),
        created_at: recorded.recorded_at,
        updated_at: Some(recorded.recorded_at),
    })
}

fn changed(row: Row, event: &Event) -> Row {
    match event {
        Event::NameChanged { name } => Row { name: name.clone(), ..row },
        Event::DescriptionChanged { description } => Row { description: description.clone(), ..row },
        // The content is kept beside the history.
        Event::ContentSet { .. } | Event::Registered(_) | Event::Deleted {} => row,
    }
}

/// The wire name of a kind of secret.
pub const fn type_name(secret_type: SecretType) -> &'static str {
    match secret_type {
        SecretType::ApiKey => "api_key",
        SecretType::KeyPair => "key_pair",
        SecretType::Login => "login",
        SecretType::SshKey => "ssh_key",
        SecretType::Other => "other",
    }
}

/// SQL: the secrets of an organization that a viewer may use.
const USABLE: &str = "organization_id = $1
    and ($2::uuid is null or id in (select vault_secret_id from read_model.vault_access where identity_id = $2))";

/// The secret with this id, if this viewer may use it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<Versioned<Row>>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {}, version, versioned_at from read_model.vault_secrets {} where {USABLE} and id = $3",
        columns::names(Row::COLUMNS),
        read::joined_version(VaultSecrets::KIND, "vault_secrets.id")
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(id)
    .fetch_optional(executor)
    .await
}

/// How many secrets this viewer may use.
pub async fn count(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(&format!("select count(*) from read_model.vault_secrets where {USABLE}"))
        .bind(organization_id)
        .bind(viewer.agent_id())
        .fetch_one(executor)
        .await
}
