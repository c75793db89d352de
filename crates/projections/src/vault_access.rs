//! Which vault secrets a live identity may use. Contract, section 10.4.

use std::collections::{BTreeMap, HashMap};

use identity_domain::identity::Event;
use identity_domain::{self as domain, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, Writes};
use sqlx::{FromRow, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::columns::{self, Column, Index, TableRow as _, table_row};
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
    pub(crate) access_id: Uuid,
    pub(crate) created_at: OffsetDateTime,
}

impl Projection for VaultAccess {
    const NAME: &'static str = "vault_access";
    const VERSION: i32 = 1;
    const KIND: Kind = Kind::Identity;
    const EVENT_TYPES: Option<&'static [&'static str]> =
        Some(&["identity.deleted", "identity.vault_access_granted", "identity.vault_access_revoked"]);
    type Row = Rules;

    fn fold(rules: Option<Rules>, recorded: &Recorded) -> Option<Rules> {
        Self::effect(recorded).apply(rules)
    }

    fn live() -> Box<dyn Fold> {
        Box::new(RowFold::<Self>::default())
    }

    const COLUMNS: &'static [Column] = AccessRule::COLUMNS;

    const KEY_COLUMNS: usize = 2;

    const INDEXES: &'static [Index] = &[Index::of("vault_access_secret", "(vault_secret_id)")];

    fn copy(id: &str, rules: &Rules, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        let identity = uuid_of(id)?;
        for (secret, rule) in rules {
            AccessRule::of(identity, *secret, *rule).copy(writer);
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
            | Event::ContactSharingChanged { .. }
            | Event::FilterModeChanged { .. }
            | Event::FilterModesSplit { .. }
            | Event::MailboxSignatureChanged { .. }
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
    let new = changes.iter().flat_map(|(identity, changes)| {
        changes.put.iter().map(|(secret, rule)| AccessRule::of(*identity, *secret, *rule))
    });
    columns::put::<AccessRule, _>(VaultAccess::NAME, &new.collect::<Vec<_>>(), writes)
}

table_row! {
    /// An access rule as it stands in the table and is answered.
    #[derive(Debug, Clone, PartialEq, Eq, FromRow)]
    pub struct AccessRule {
        /// The identity that may use the secret.
        pub identity_id: Uuid,
        /// The secret.
        pub vault_secret_id: Uuid,
        /// When the rule was created.
        pub created_at: OffsetDateTime,
        /// Its id.
        pub access_id: Uuid,
    }
}

impl AccessRule {
    const fn of(identity_id: Uuid, vault_secret_id: Uuid, rule: Rule) -> Self {
        let Rule { access_id, created_at } = rule;
        Self { identity_id, vault_secret_id, created_at, access_id }
    }
}

/// The rule on a secret that these events of an identity create.
pub fn granted(events: &[Recorded], vault_secret_id: Uuid, identity_id: Uuid) -> Option<AccessRule> {
    let rules = events.iter().fold(None, VaultAccess::fold)?;
    Some(AccessRule::of(identity_id, vault_secret_id, *rules.get(&vault_secret_id)?))
}

/// How many secrets an identity may use.
pub async fn count_of(executor: impl PgExecutor<'_>, identity: Uuid) -> Result<u64, sqlx::Error> {
    let count: i64 =
        sqlx::query_scalar("select count(*) from read_model.vault_access where identity_id = $1")
            .bind(identity)
            .fetch_one(executor)
            .await?;
    Ok(count.unsigned_abs())
}

/// The rules on this secret that this viewer is shown, oldest first: an agent is shown its own.
pub async fn list(
    executor: impl PgExecutor<'_>,
    viewer: &Viewer,
    secret: Uuid,
) -> Result<Vec<AccessRule>, sqlx::Error> {
    sqlx::query_as(
        "select access_id, vault_secret_id, identity_id, created_at
         from read_model.vault_access
         where vault_secret_id = $1 and ($2::uuid is null or identity_id = $2)
         order by created_at, access_id",
    )
    .bind(secret)
    .bind(viewer.agent_id())
    .fetch_all(executor)
    .await
}
