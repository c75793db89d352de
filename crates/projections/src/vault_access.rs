//! Which vault secrets a live identity may use. Contract, section 10.4.

use std::collections::{BTreeMap, HashMap};

use identity_domain::identity::Event;
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes};
use sqlx::{FromRow, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::identities::Viewer;
use crate::projection::{Projection, uuid_of};
use crate::rows::{Effect, RowChanges, RowFold, RowModel};

/// The read model.
#[derive(Debug)]
pub struct VaultAccess;

/// The access rules of one identity, by secret.
pub type Rules = BTreeMap<Uuid, Rule>;

/// Says that an identity may use a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    access_id: Uuid,
    created_at: OffsetDateTime,
}

impl Projection for VaultAccess {
    const NAME: &'static str = "vault_access";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::Identity;
    type Row = Rules;

    fn fold(rules: Option<Rules>, recorded: &Recorded) -> Option<Rules> {
        Self::effect(recorded).apply(rules)
    }

    fn live() -> Box<dyn Fold> {
        Box::new(RowFold::<Self>::default())
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
}

impl RowModel for VaultAccess {
    type Key = Uuid;
    type Value = Rule;

    fn effect(recorded: &Recorded) -> Effect<Uuid, Rule> {
        let domain::Event::Identity(event) = &recorded.event else {
            return Effect::Nothing;
        };
        match event {
            Event::VaultAccessGranted { access_id, vault_secret_id } => {
                let rule = Rule { access_id: *access_id, created_at: recorded.recorded_at };
                Effect::Put(*vault_secret_id, rule)
            }
            Event::VaultAccessRevoked { vault_secret_id } => Effect::Remove(*vault_secret_id),
            Event::Deleted { .. } => Effect::Replace(vec![]),
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
            | Event::TunnelMetadataChanged { .. }
            | Event::SigningKeySet { .. } => Effect::Nothing,
        }
    }

    fn write(changes: &HashMap<Uuid, Changes>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
        delete(changes, writes)?;
        insert(changes, writes)
    }
}

type Changes = RowChanges<Uuid, Rule>;

/// Deletes single rules. A rule that was revoked and granted again is overwritten by [`insert`]: one statement must not
/// delete and insert a row of the same key.
fn delete(changes: &HashMap<Uuid, Changes>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
    let removed = changes.iter().flat_map(|(identity, changes)| {
        let gone = changes.removed.iter().filter(|secret| !changes.put.contains_key(secret));
        gone.map(|secret| (*identity, *secret))
    });
    let (identities, secrets): (Vec<Uuid>, Vec<Uuid>) = removed.unzip();
    if identities.is_empty() {
        return Ok(());
    }
    writes
        .part(
            "delete from vault_access
             where ctid = any(array(
                       select gone.ctid
                       from unnest(?::uuid[], ?::uuid[]) as wanted (identity, secret)
                       cross join lateral (
                           select ctid
                           from vault_access
                           where identity_id = identity and vault_secret_id = secret
                           offset 0
                       ) as gone
                   ))
               and exists (select from turn)",
        )
        .bind(identities)?
        .bind(secrets)?;
    Ok(())
}

fn insert(changes: &HashMap<Uuid, Changes>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
    let new: Vec<(Uuid, Uuid, Rule)> = changes
        .iter()
        .flat_map(|(identity, changes)| changes.put.iter().map(|(secret, rule)| (*identity, *secret, *rule)))
        .collect();
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

/// An access rule as it is answered.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AccessRule {
    /// Its id.
    pub access_id: Uuid,
    /// The secret.
    pub vault_secret_id: Uuid,
    /// The identity that may use it.
    pub identity_id: Uuid,
    /// When the rule was created.
    pub created_at: OffsetDateTime,
}

/// The rule on a secret that these events of an identity create.
pub fn granted(events: &[Recorded], vault_secret_id: Uuid, identity_id: Uuid) -> Option<AccessRule> {
    let rules = events.iter().fold(None, VaultAccess::fold)?;
    let Rule { access_id, created_at } = *rules.get(&vault_secret_id)?;
    Some(AccessRule { access_id, vault_secret_id, identity_id, created_at })
}

/// The rules on these secrets that this viewer is shown, oldest first: an agent is shown its own.
pub async fn list(
    executor: impl PgExecutor<'_>,
    viewer: &Viewer,
    secrets: &[Uuid],
) -> Result<Vec<AccessRule>, sqlx::Error> {
    sqlx::query_as(
        "select access_id, vault_secret_id, identity_id, created_at
         from read_model.vault_access
         where vault_secret_id = any($1) and ($2::uuid is null or identity_id = $2)
         order by created_at, access_id",
    )
    .bind(secrets)
    .bind(viewer.agent_id())
    .fetch_all(executor)
    .await
}
