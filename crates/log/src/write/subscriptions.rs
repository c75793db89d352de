//! Webhook subscriptions by identity and owner: how many there are, and which of them end when their identity is deleted or the
//! phone number that owns them is released. The table follows from events, and is read before commands are decided.

use std::collections::{BTreeMap, HashMap, HashSet};

use identity_domain::identity::Event as IdentityEvent;
use identity_domain::webhook_subscription::{DeleteReason, Event as SubscriptionEvent};
use identity_domain::{Event, SubscriptionLimit, SubscriptionNeed};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::batch_needs::SubscriptionNeeds;
use super::statement::Writes;
use crate::event::recorded::Recorded;
use crate::settings::SubscriptionLimits;

/// A subscription that is not deleted.
#[derive(Debug, Clone, FromRow)]
struct Owned {
    subscription_id: Uuid,
    organization_id: String,
    identity_id: Uuid,
    owner_id: Uuid,
    is_active: bool,
}

#[derive(Debug)]
struct Cached {
    /// `None` if it was deleted.
    owned: Option<Owned>,
    is_changed: bool,
}

/// The subscriptions of the identities that the commands of a batch mention, and how many others an organization has.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    cached: BTreeMap<Uuid, Cached>,
    /// How many subscriptions of an organization are in the table and not in `cached`.
    others: HashMap<String, i64>,
}

/// What a batch changes in the table.
#[derive(Debug, Default)]
pub(super) struct SubscriptionChanges {
    put: Vec<Owned>,
    deleted: Vec<Uuid>,
}

impl Subscriptions {
    /// Loads what the commands of a batch have to look up.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        needs: &SubscriptionNeeds,
    ) -> Result<(), sqlx::Error> {
        if !needs.these.is_empty() || !needs.of_identities.is_empty() {
            for owned in find(connection, needs).await? {
                let cached = Cached { owned: Some(owned.clone()), is_changed: false };
                self.cached.entry(owned.subscription_id).or_insert(cached);
            }
        }
        if !needs.counted.is_empty() {
            let cached: Vec<Uuid> = self.cached.keys().copied().collect();
            self.others = others_of(connection, &needs.counted, &cached).await?;
        }
        Ok(())
    }

    /// The ids of all subscriptions that are loaded and not deleted.
    pub(super) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.live().map(|owned| owned.subscription_id)
    }

    fn live(&self) -> impl Iterator<Item = &Owned> {
        self.cached.values().filter_map(|cached| cached.owned.as_ref())
    }

    /// The limit that one more active subscription would exceed. 0 is no limit.
    pub(super) fn limit_reached(
        &self,
        organization: &str,
        need: SubscriptionNeed,
        limits: SubscriptionLimits,
    ) -> Option<SubscriptionLimit> {
        let is_reached = |count: i64, limit: u32| limit > 0 && count >= i64::from(limit);
        let of_owner = self.live().filter(|owned| owned.owner_id == need.owner_id && owned.is_active);
        if is_reached(count(of_owner), limits.of_owner) {
            return Some(SubscriptionLimit::Owner);
        }
        let of_organization = self.live().filter(|owned| owned.organization_id == organization);
        let others = self.others.get(organization).copied().unwrap_or(0);
        let is_full = need.is_new && is_reached(count(of_organization) + others, limits.of_organization);
        is_full.then_some(SubscriptionLimit::Organization)
    }

    /// The subscriptions that end with an event of an identity.
    pub(super) fn ended_by(&self, recorded: &Recorded) -> Vec<(Uuid, DeleteReason)> {
        let Event::Identity(event) = &recorded.event else { return vec![] };
        match event {
            IdentityEvent::PhoneReleased { phone_number_id, .. } => {
                let ended = self.live().filter(|owned| owned.owner_id == *phone_number_id);
                ended.map(|owned| (owned.subscription_id, DeleteReason::PhoneNumberReleased)).collect()
            }
            IdentityEvent::Deleted { .. } => {
                let is_its = |owned: &&Owned| owned.identity_id.to_string() == recorded.aggregate_id;
                let ended = self.live().filter(is_its);
                ended.map(|owned| (owned.subscription_id, DeleteReason::IdentityDeleted)).collect()
            }
            _ => vec![],
        }
    }

    /// Applies an event to the subscriptions.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        let Event::WebhookSubscription(event) = &recorded.event else { return };
        let Ok(id) = recorded.aggregate_id.parse() else { return };
        match event {
            SubscriptionEvent::Created(new) => {
                let owned = Owned {
                    subscription_id: id,
                    organization_id: recorded.organization_id.clone(),
                    identity_id: new.identity_id,
                    owner_id: new.owner.id,
                    is_active: true,
                };
                self.cached.insert(id, Cached { owned: Some(owned), is_changed: true });
            }
            SubscriptionEvent::Changed(_) => self.set_active(id, true),
            SubscriptionEvent::Disabled { .. } => self.set_active(id, false),
            SubscriptionEvent::Deleted { .. } => {
                self.cached.insert(id, Cached { owned: None, is_changed: true });
            }
        }
    }

    fn set_active(&mut self, id: Uuid, is_active: bool) {
        if let Some(Cached { owned: Some(owned), is_changed }) = self.cached.get_mut(&id) {
            *is_changed |= owned.is_active != is_active;
            owned.is_active = is_active;
        }
    }

    /// The changes of the batch, and the subscriptions to keep for the next one. Those are the changed ones only: this batch
    /// may not be committed when the next one loads its subscriptions.
    pub(super) fn into_changes(mut self) -> (SubscriptionChanges, Self) {
        self.cached.retain(|_, cached| cached.is_changed);
        let mut changes = SubscriptionChanges::default();
        for (id, cached) in &mut self.cached {
            cached.is_changed = false;
            match &cached.owned {
                Some(owned) => changes.put.push(owned.clone()),
                None => changes.deleted.push(*id),
            }
        }
        (changes, Self { cached: self.cached, others: HashMap::new() })
    }
}

fn count<'a>(owned: impl Iterator<Item = &'a Owned>) -> i64 {
    i64::try_from(owned.count()).unwrap_or(i64::MAX)
}

async fn find(connection: &mut PgConnection, needs: &SubscriptionNeeds) -> Result<Vec<Owned>, sqlx::Error> {
    sqlx::query_as(
        "select subscription_id, organization_id, identity_id, owner_id, is_active
         from webhook_owners
         where identity_id = any($1) or subscription_id = any($2)",
    )
    .bind(needs.of_identities.iter().copied().collect::<Vec<_>>())
    .bind(needs.these.iter().copied().collect::<Vec<_>>())
    .fetch_all(connection)
    .await
}

/// How many subscriptions organizations have besides these.
async fn others_of(
    connection: &mut PgConnection,
    organizations: &HashSet<String>,
    known: &[Uuid],
) -> Result<HashMap<String, i64>, sqlx::Error> {
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "select organization_id, count(*)
         from webhook_owners
         where organization_id = any($1) and subscription_id <> all($2)
         group by organization_id",
    )
    .bind(organizations.iter().map(String::as_str).collect::<Vec<_>>())
    .bind(known)
    .fetch_all(connection)
    .await?;
    Ok(counts.into_iter().collect())
}

impl SubscriptionChanges {
    /// Adds the rows that the batch changes to `writes`.
    pub(super) fn write(&self, writes: &mut Writes) -> Result<(), sqlx::Error> {
        if !self.deleted.is_empty() {
            let delete =
                "delete from webhook_owners where subscription_id = any(?) and exists (select from turn)";
            writes.part(delete).bind(self.deleted.clone())?;
        }
        if self.put.is_empty() {
            return Ok(());
        }
        let put = &self.put;
        writes
            .part(
                "insert into webhook_owners (subscription_id, organization_id, identity_id, owner_id, is_active)
                 select * from unnest(?::uuid[], ?::text[], ?::uuid[], ?::uuid[], ?::boolean[])
                 where exists (select from turn)
                 on conflict on constraint webhook_owners_pkey do update set is_active = excluded.is_active",
            )
            .bind(put.iter().map(|owned| owned.subscription_id).collect::<Vec<_>>())?
            .bind(put.iter().map(|owned| owned.organization_id.as_str()).collect::<Vec<_>>())?
            .bind(put.iter().map(|owned| owned.identity_id).collect::<Vec<_>>())?
            .bind(put.iter().map(|owned| owned.owner_id).collect::<Vec<_>>())?
            .bind(put.iter().map(|owned| owned.is_active).collect::<Vec<_>>())?;
        Ok(())
    }
}
