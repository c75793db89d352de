//! References to vault secrets that are not deleted. Contract, section 10.4.

use std::collections::HashMap;

use identity_domain::vault_secret::{Event, SecretType};
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes};
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::projection::{Change, LoadedFold, LoadedModel, Projection};

/// The read model.
#[derive(Debug)]
pub struct VaultSecrets;

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
}

impl Projection for VaultSecrets {
    const NAME: &'static str = "vault_secrets";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::VaultSecret;
    type Row = Row;

    fn fold(row: Option<Row>, recorded: &Recorded) -> Option<Row> {
        let domain::Event::VaultSecret(event) = &recorded.event else {
            return row;
        };
        match event {
            Event::Registered(registration) => Some(Row {
                id: recorded.aggregate_id.parse().ok()?,
                organization_id: recorded.organization_id.clone(),
                name: registration.name.clone(),
                secret_type: type_name(registration.secret_type).to_owned(),
                description: registration.description.clone(),
                created_at: recorded.recorded_at,
            }),
            Event::Deleted {} => None,
        }
    }

    const COLUMNS: &'static [&'static str] =
        &["id", "organization_id", "name", "secret_type", "description", "created_at"];

    fn copy(_id: &str, row: &Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        writer.row(6);
        writer.uuid(row.id);
        writer.text(&row.organization_id);
        writer.text(&row.name);
        writer.text(&row.secret_type);
        writer.optional_text(row.description.as_deref());
        writer.timestamp(row.created_at);
        Ok(())
    }

    fn live() -> Box<dyn Fold> {
        Box::new(LoadedFold::<Self>::default())
    }
}

impl LoadedModel for VaultSecrets {
    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Row>, ReadModelFailure> {
        let rows: Vec<Row> = sqlx::query_as(
            "select id, organization_id, name, secret_type, description, created_at
             from vault_secrets
             where id = any($1::text[]::uuid[])",
        )
        .bind(ids)
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| (row.id.to_string(), row)).collect())
    }

    fn store(changes: &[Change<Row>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        let gone: Vec<&str> =
            changes.iter().filter(|change| change.after.is_none()).map(|change| change.id.as_str()).collect();
        if !gone.is_empty() {
            writes
                .part("delete from vault_secrets where id = any(?::text[]::uuid[]) and exists (select from turn)")
                .bind(gone)?;
        }
        let rows: Vec<&Row> = changes.iter().filter_map(|change| change.after.as_ref()).collect();
        writes.part(
            "insert into vault_secrets (id, organization_id, name, secret_type, description, created_at)
             select * from unnest(?::uuid[], ?::text[], ?::text[], ?::text[], ?::text[], ?::timestamptz[])
             where exists (select from turn)
             on conflict on constraint vault_secrets_pkey do update
             set name = excluded.name, secret_type = excluded.secret_type, description = excluded.description",
        )
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())?
        .bind(rows.iter().map(|row| row.organization_id.as_str()).collect::<Vec<_>>())?
        .bind(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>())?
        .bind(rows.iter().map(|row| row.secret_type.as_str()).collect::<Vec<_>>())?
        .bind(rows.iter().map(|row| row.description.as_deref()).collect::<Vec<_>>())?
        .bind(rows.iter().map(|row| row.created_at).collect::<Vec<_>>())?;
        Ok(())
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

/// The secret that these events register, after the last of them.
pub fn registered(events: &[Recorded]) -> Option<Row> {
    events.iter().fold(None, VaultSecrets::fold)
}

/// All secrets of an organization, newest first.
pub async fn list(executor: impl PgExecutor<'_>, organization_id: &str) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, organization_id, name, secret_type, description, created_at
         from read_model.vault_secrets
         where organization_id = $1
         order by created_at desc, id desc",
    )
    .bind(organization_id)
    .fetch_all(executor)
    .await
}

/// The secret with this id.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    id: Uuid,
) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as(
        "select id, organization_id, name, secret_type, description, created_at
         from read_model.vault_secrets
         where organization_id = $1 and id = $2",
    )
    .bind(organization_id)
    .bind(id)
    .fetch_optional(executor)
    .await
}
