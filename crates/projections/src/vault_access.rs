//! Which vault secrets a live identity may use. Contract, section 10.4.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use identity_domain::identity::Event;
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{ReadModelFailure, Recorded, Writes};
use sqlx::{FromRow, PgConnection, PgExecutor, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::projection::{Change, Projection, uuid_of};

/// The read model.
#[derive(Debug)]
pub struct VaultAccess;

/// What is kept of one identity: a rule for each secret it may use.
pub type Rules = BTreeMap<Uuid, Rule>;

/// That an identity may use a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    access_id: Uuid,
    created_at: OffsetDateTime,
}

#[async_trait]
impl Projection for VaultAccess {
    const NAME: &'static str = "vault_access";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::Identity;
    type Row = Rules;

    fn fold(rules: Option<Rules>, recorded: &Recorded) -> Option<Rules> {
        let domain::Event::Identity(event) = &recorded.event else {
            return rules;
        };
        let mut rules = rules.unwrap_or_default();
        match event {
            Event::VaultAccessGranted { access_id, vault_secret_id } => {
                rules.insert(
                    *vault_secret_id,
                    Rule { access_id: *access_id, created_at: recorded.recorded_at },
                );
            }
            Event::VaultAccessRevoked { vault_secret_id } => {
                rules.remove(vault_secret_id);
            }
            Event::Deleted { .. } => rules.clear(),
            Event::Created { .. }
            | Event::Renamed { .. }
            | Event::DisplayNameChanged { .. }
            | Event::DescriptionChanged { .. }
            | Event::ImessageChanged { .. }
            | Event::FilterModeChanged { .. }
            | Event::StatusChanged { .. }
            | Event::VisibilityGranted { .. }
            | Event::VisibilityOpened { .. }
            | Event::VisibilityRevoked { .. }
            | Event::VisibilityNarrowed { .. }
            | Event::PhoneProvisioned { .. }
            | Event::PhoneChanged { .. }
            | Event::PhoneReleased { .. }
            | Event::TunnelMetadataChanged { .. } => {}
        }
        if rules.is_empty() { None } else { Some(rules) }
    }

    fn concerns(event: &domain::Event) -> bool {
        matches!(
            event,
            domain::Event::Identity(
                Event::VaultAccessGranted { .. } | Event::VaultAccessRevoked { .. } | Event::Deleted { .. }
            )
        )
    }

    const COLUMNS: &'static [&'static str] = &["identity_id", "vault_secret_id", "created_at", "access_id"];

    const KEY_COLUMNS: usize = 2;

    fn copy(id: &str, rules: &Rules, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        let identity = uuid_of(id)?;
        for (secret, rule) in rules {
            writer.row(4);
            writer.uuid(identity);
            writer.uuid(*secret);
            writer.timestamp(rule.created_at);
            writer.uuid(rule.access_id);
        }
        Ok(())
    }

    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Rules>, ReadModelFailure> {
        let found = sqlx::query(
            "select identity_id, vault_secret_id, access_id, created_at
             from vault_access
             where identity_id = any($1::text[]::uuid[])",
        )
        .bind(ids)
        .fetch_all(connection)
        .await?;
        let mut rules: HashMap<String, Rules> = HashMap::new();
        for row in &found {
            let rule = Rule { access_id: row.try_get("access_id")?, created_at: row.try_get("created_at")? };
            rules
                .entry(row.try_get::<Uuid, _>("identity_id")?.to_string())
                .or_default()
                .insert(row.try_get("vault_secret_id")?, rule);
        }
        Ok(rules)
    }

    fn store(changes: &[Change<Rules>], writes: &mut Writes) -> Result<(), ReadModelFailure> {
        let none = Rules::new();
        let mut gone = Vec::new();
        let mut new = Vec::new();
        for change in changes {
            let identity = uuid_of(&change.id)?;
            let before = change.before.as_ref().unwrap_or(&none);
            let after = change.after.as_ref().unwrap_or(&none);
            let revoked = before.keys().filter(|secret| !after.contains_key(secret));
            gone.extend(revoked.map(|secret| (identity, *secret)));
            let granted = after.iter().filter(|(secret, rule)| before.get(secret) != Some(rule));
            new.extend(granted.map(|(secret, rule)| (identity, *secret, *rule)));
        }
        delete(&gone, writes)?;
        insert(&new, writes)
    }
}

fn delete(gone: &[(Uuid, Uuid)], writes: &mut Writes) -> Result<(), ReadModelFailure> {
    if gone.is_empty() {
        return Ok(());
    }
    let (identities, secrets): (Vec<Uuid>, Vec<Uuid>) = gone.iter().copied().unzip();
    writes
        .part(
            "delete from vault_access
             where identity_id = any(?)
               and (identity_id, vault_secret_id) in (select * from unnest(?::uuid[], ?::uuid[]) as gone (identity, secret))
               and exists (select from turn)",
        )
        .bind(&identities)?
        .bind(&identities)?
        .bind(secrets)?;
    Ok(())
}

fn insert(new: &[(Uuid, Uuid, Rule)], writes: &mut Writes) -> Result<(), ReadModelFailure> {
    if new.is_empty() {
        return Ok(());
    }
    writes
        .part(
            "insert into vault_access (identity_id, vault_secret_id, access_id, created_at)
             select * from unnest(?::uuid[], ?::uuid[], ?::uuid[], ?::timestamptz[])
             where exists (select from turn)
             on conflict on constraint vault_access_pkey do update
             set access_id = excluded.access_id, created_at = excluded.created_at",
        )
        .bind(new.iter().map(|(identity, ..)| *identity).collect::<Vec<_>>())?
        .bind(new.iter().map(|(_, secret, _)| *secret).collect::<Vec<_>>())?
        .bind(new.iter().map(|(.., rule)| rule.access_id).collect::<Vec<_>>())?
        .bind(new.iter().map(|(.., rule)| rule.created_at).collect::<Vec<_>>())?;
    Ok(())
}

/// A rule as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AccessRule {
    /// Its id.
    pub access_id: Uuid,
    /// Which secret.
    pub vault_secret_id: Uuid,
    /// Who may use it.
    pub identity_id: Uuid,
    /// Since when.
    pub created_at: OffsetDateTime,
}

/// The rule on a secret that these events of an identity have made.
pub fn granted(events: &[Recorded], vault_secret_id: Uuid, identity_id: Uuid) -> Option<AccessRule> {
    let rules = events.iter().fold(None, VaultAccess::fold)?;
    let Rule { access_id, created_at } = *rules.get(&vault_secret_id)?;
    Some(AccessRule { access_id, vault_secret_id, identity_id, created_at })
}

/// The rules on some secrets, oldest first.
pub async fn list(executor: impl PgExecutor<'_>, secrets: &[Uuid]) -> Result<Vec<AccessRule>, sqlx::Error> {
    sqlx::query_as(
        "select access_id, vault_secret_id, identity_id, created_at
         from read_model.vault_access
         where vault_secret_id = any($1)
         order by created_at, access_id",
    )
    .bind(secrets)
    .fetch_all(executor)
    .await
}
