//! Everything that the commands of a batch need to know. It is loaded once for the whole batch, and updated after
//! each command, so a command sees what the commands before it in the same batch have done.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use identity_domain::identity::{self, Event as IdentityEvent, Identity, Visibility};
use identity_domain::vault_secret::VaultSecret;
use identity_domain::webhook_subscription::DeleteReason;
use identity_domain::{
    Command, Event, Facts, Kind, Moment, Needs, NumberWish, Offer, SecretSelection, State,
};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::aggregates::{Aggregate, Aggregates, Loading};
use super::batch_needs::BatchNeeds;
use super::names::{self, ChangedClaim, Claims, Held};
use super::number_pool::{self, NumberChange};
use super::subscriptions::{SubscriptionChanges, Subscriptions};
use crate::append::Append;
use crate::error::BatchError;
use crate::event::ids;
use crate::event::recorded::Recorded;
use crate::read::pages;
use crate::read_model::ReadModel;
use crate::settings::Settings;

/// Whether everything that a command needs is looked up by key. All identities or all secrets of an organization and free
/// phone numbers are not: they are read under the lock, because this process does not track how the last batch
/// changes them.
pub(super) fn is_looked_up_by_key(append: &Append) -> bool {
    let needs = append.command.needs();
    !needs.whole_organization() && needs.number.is_none()
}

/// What a batch context keeps for the next batch.
#[derive(Debug, Default)]
pub(super) struct AggregateCache {
    /// States of aggregates. Events that were appended since, by any process, are read and applied on top.
    aggregates: Aggregates,
    /// The claims that the last batch changed, which may not be committed yet.
    claims: Claims,
    /// The webhook subscriptions that the last batch changed, which may not be committed yet.
    subscriptions: Subscriptions,
    /// The last position before the last batch. All events up to it are committed.
    committed: i64,
}

impl AggregateCache {
    /// Without states that contain events after `position`, since those may never be committed.
    pub(super) fn up_to(self, position: i64) -> Self {
        Self { aggregates: self.aggregates.up_to(position), ..self }
    }

    /// With the states only, which are valid after another process has written, too. The log ends at `position` now, and
    /// all events up to it are committed.
    pub(super) fn after_other_writers(self, position: i64) -> Self {
        let (claims, subscriptions) = (Claims::default(), Subscriptions::default());
        Self { committed: position, claims, subscriptions, ..self }
    }
}

/// What a batch has changed besides aggregates.
#[derive(Debug)]
pub(super) struct ContextChanges {
    /// Claims on names.
    pub(super) claims: Vec<ChangedClaim>,
    /// Webhook subscriptions.
    pub(super) subscriptions: SubscriptionChanges,
    /// Phone numbers that were taken or released.
    pub(super) numbers: Vec<NumberChange>,
}

/// What the commands of a batch need to know. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct BatchContext {
    aggregates: Aggregates,
    claims: Claims,
    subscriptions: Subscriptions,
    /// The position up to which all events are committed.
    committed: i64,
    /// The position since which no other process has written.
    no_other_writer_since: i64,
    /// Live identities of organizations, where a command needs all of them.
    identities: HashMap<String, BTreeSet<Uuid>>,
    /// Registered secrets of organizations, where a command needs all of them.
    secrets: HashMap<String, BTreeSet<Uuid>>,
    /// Free phone numbers.
    offers: VecDeque<Offer>,
    /// Phone numbers that commands of this batch have taken or released.
    numbers: Vec<NumberChange>,
}

impl BatchContext {
    /// A context that begins with `cache`. No other process has written since the position `no_other_writer_since`.
    pub(super) fn with_cache(cache: AggregateCache, no_other_writer_since: i64) -> Self {
        let AggregateCache { aggregates, claims, subscriptions, committed } = cache;
        Self { aggregates, claims, subscriptions, committed, no_other_writer_since, ..Self::default() }
    }

    /// Loads what `appends` need. `now` is the last position of the log. `read_models` may have stored states of long aggregates.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        read_models: &[Arc<dyn ReadModel>],
        rested_since: OffsetDateTime,
        now: i64,
        appends: &[&Append],
    ) -> Result<(), BatchError> {
        let needs = BatchNeeds::of(appends);
        let mut keys = needs.aggregates;
        for organization in needs.secrets_of {
            let registered = pages::registered_secrets(connection, &organization).await?;
            keys.extend(registered.iter().map(|secret| (Kind::VaultSecret, secret.to_string())));
            self.secrets.insert(organization, registered.into_iter().collect());
        }
        self.subscriptions.load(connection, &needs.subscriptions).await?;
        keys.extend(self.subscriptions.ids().map(|id| (Kind::WebhookSubscription, id.to_string())));
        let (committed, no_other_writer_since) = (self.committed, self.no_other_writer_since);
        let loading = Loading { read_models, now, committed, no_other_writer_since };
        self.aggregates.load(connection, &loading, keys).await?;
        for organization in self.organizations_to_list(appends) {
            let live = names::live_identities(connection, organization).await?;
            self.identities.insert(organization.to_owned(), live.into_iter().collect());
        }
        self.load_claims(connection, needs.names, &needs.holders).await?;
        if !needs.numbers.is_empty() {
            self.offers = number_pool::offers(connection, &needs.numbers, rested_since).await?.into();
        }
        Ok(())
    }

    /// Organizations of which a command may need all live identities. It needs them if it hides an identity from one
    /// viewer while everybody may see the identity: the wildcard is then replaced by the list of all other identities. A
    /// command of the same batch may let everybody see it first.
    fn organizations_to_list<'a>(&self, appends: &[&'a Append]) -> HashSet<&'a str> {
        let opens = |append: &&&Append| {
            matches!(append.command, Command::Identity(identity::Command::OpenVisibility { .. }))
        };
        let opened: HashSet<&str> =
            appends.iter().filter(opens).map(|append| append.aggregate_id.as_str()).collect();
        let in_need = appends.iter().filter(|append| append.command.needs().all_identities);
        in_need
            .filter(|append| opened.contains(append.aggregate_id.as_str()) || self.is_open(append))
            .map(|append| append.organization_id.as_str())
            .collect()
    }

    /// Whether everybody in the organization may see the identity of a command.
    fn is_open(&self, append: &Append) -> bool {
        self.aggregate_of(append).is_some_and(|aggregate| match &aggregate.known.state {
            State::Identity(Identity::Live(live)) => live.visibility == Visibility::Wildcard,
            _ => false,
        })
    }

    /// Loads the claims on `names`, and on the names of `holders`, which may give them up.
    async fn load_claims(
        &mut self,
        connection: &mut PgConnection,
        mut names: HashSet<String>,
        holders: &[String],
    ) -> Result<(), BatchError> {
        for holder in holders {
            let identity = self.aggregates.get(&(Kind::Identity, holder.clone()));
            if let Some(State::Identity(Identity::Live(live))) =
                identity.map(|identity| &identity.known.state)
            {
                names.extend(names::names_of(live).map(str::to_owned));
            }
        }
        Ok(self.claims.load(connection, names.into_iter()).await?)
    }

    /// Whether the actor of a command may still act at this moment: its key is valid for the secret that it presented, and
    /// the identity of the key is live.
    pub(super) fn may_act(&self, append: &Append, now: OffsetDateTime) -> bool {
        let Some((key, identity)) = append.actor.key() else { return true };
        let organization = append.organization_id.as_str();
        let key = self.aggregate(organization, Kind::ApiKey, key.to_string());
        let is_valid = key.is_some_and(|key| match &key.known.state {
            State::ApiKey(key) => key.is_valid_for(&append.secret_sha256, Moment::from(now)),
            _ => false,
        });
        is_valid && identity.is_none_or(|identity| self.identity_is_live(organization, identity))
    }

    /// The state of the aggregate of a command.
    pub(super) fn state(&self, append: &Append) -> Cow<'_, State> {
        let aggregate = self.aggregate_of(append);
        aggregate.map_or_else(
            || Cow::Owned(State::initial(append.command.kind())),
            |aggregate| Cow::Borrowed(&aggregate.known.state),
        )
    }

    /// The version of the aggregate of a command; 0 if it has no event.
    pub(super) fn version(&self, append: &Append) -> i64 {
        self.aggregate_of(append).map_or(0, |aggregate| aggregate.sequence)
    }

    fn aggregate_of(&self, append: &Append) -> Option<&Aggregate> {
        self.aggregate(&append.organization_id, append.command.kind(), append.aggregate_id.clone())
    }

    /// An aggregate of this organization; `None` if it belongs to another one.
    fn aggregate(&self, organization: &str, kind: Kind, id: String) -> Option<&Aggregate> {
        self.aggregates.get(&(kind, id)).filter(|aggregate| aggregate.organization_id == organization)
    }

    /// The facts that a command is decided with, at the moment `now`.
    pub(super) fn facts(&self, append: &Append, settings: &Settings, now: OffsetDateTime) -> Facts {
        let hold = Duration::try_from(settings.name_hold).unwrap_or(Duration::MAX);
        let (quotas, names_held) = (settings.quotas, settings.quotas.names_held);
        let recent = self.aggregate_of(append).map(|aggregate| &aggregate.known.recent);
        let Needs { name, identity, all_identities, secrets, number, subscriptions, .. } =
            append.command.needs();
        let organization = append.organization_id.as_str();
        Facts {
            now: Moment::from(now),
            id_is_taken: self.id_is_taken(append),
            blocked: name.and_then(|name| {
                let claimant = &append.aggregate_id;
                self.claims.blocker(name.as_str(), claimant, Held { hold, most: names_held }, now)
            }),
            identity_is_live: identity.is_some_and(|identity| self.identity_is_live(organization, identity)),
            identities: if all_identities && self.is_open(append) {
                self.live_identities(organization)
            } else {
                vec![]
            },
            secrets: secrets.map_or_else(Vec::new, |selection| self.live_secrets(organization, &selection)),
            number: number.and_then(|wish| self.offer(&wish)),
            wait_for_rename: recent.and_then(|recent| recent.renames.wait(quotas.renames_per_day, now)),
            wait_for_number: recent.and_then(|recent| recent.numbers.wait(quotas.numbers_per_day, now)),
            subscription_limit: subscriptions.and_then(|need| {
                self.subscriptions.limit_reached(organization, need, settings.subscriptions)
            }),
        }
    }

    /// Whether another organization has an aggregate of this type and id.
    fn id_is_taken(&self, append: &Append) -> bool {
        let found = self.aggregates.get(&(append.command.kind(), append.aggregate_id.clone()));
        found.is_some_and(|aggregate| aggregate.organization_id != append.organization_id)
    }

    fn identity_is_live(&self, organization: &str, identity: Uuid) -> bool {
        self.aggregate(organization, Kind::Identity, identity.to_string())
            .is_some_and(|aggregate| matches!(aggregate.known.state, State::Identity(Identity::Live(_))))
    }

    fn live_identities(&self, organization: &str) -> Vec<(Uuid, Uuid)> {
        let live = self.identities.get(organization).into_iter().flatten();
        live.map(|&identity| (identity, ids::mint())).collect()
    }

    fn live_secrets(&self, organization: &str, selection: &SecretSelection) -> Vec<(Uuid, Uuid)> {
        let selected: BTreeSet<Uuid> = match selection {
            SecretSelection::All => self.secrets.get(organization).cloned().unwrap_or_default(),
            SecretSelection::These(secrets) => secrets.iter().copied().collect(),
        };
        let live = selected.into_iter().filter(|secret| self.secret_is_live(organization, *secret));
        live.map(|secret| (secret, ids::mint())).collect()
    }

    fn secret_is_live(&self, organization: &str, secret: Uuid) -> bool {
        self.aggregate(organization, Kind::VaultSecret, secret.to_string()).is_some_and(|aggregate| {
            matches!(aggregate.known.state, State::VaultSecret(VaultSecret::Live(_)))
        })
    }

    fn offer(&self, wish: &NumberWish) -> Option<Offer> {
        self.offers.iter().find(|offer| wish.state.is_none_or(|state| state == offer.state)).cloned()
    }

    /// The webhook subscriptions that end with an event.
    pub(super) fn subscriptions_ended_by(&self, recorded: &Recorded) -> Vec<(Uuid, DeleteReason)> {
        self.subscriptions.ended_by(recorded)
    }

    /// Applies an event of this batch, so that the next command sees it.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        self.aggregates.evolve(recorded);
        self.claims.apply(recorded);
        self.subscriptions.apply(recorded);
        let Ok(id) = recorded.aggregate_id.parse::<Uuid>() else {
            return;
        };
        match &recorded.event {
            Event::Identity(IdentityEvent::Created { .. }) => {
                if let Some(live) = self.identities.get_mut(&recorded.organization_id) {
                    live.insert(id);
                }
            }
            Event::Identity(IdentityEvent::Deleted { .. }) => {
                if let Some(live) = self.identities.get_mut(&recorded.organization_id) {
                    live.remove(&id);
                }
            }
            Event::Identity(IdentityEvent::PhoneProvisioned { phone, .. }) => {
                self.offers.retain(|offer| offer.number != phone.number);
                let number = phone.number.clone();
                self.numbers.push(NumberChange { number, identity_id: id, released_at: None });
            }
            Event::Identity(IdentityEvent::PhoneReleased { number, .. }) => {
                let (number, released_at) = (number.clone(), Some(recorded.recorded_at));
                self.numbers.push(NumberChange { number, identity_id: id, released_at });
            }
            Event::VaultSecret(_) => {
                if let Some(registered) = self.secrets.get_mut(&recorded.organization_id) {
                    registered.insert(id);
                }
            }
            Event::Identity(_)
            | Event::ApiKey(_)
            | Event::Organization(_)
            | Event::Vault(_)
            | Event::WebhookSubscription(_) => {}
        }
    }

    /// What this batch has changed besides aggregates, and the cache for the next batch. `base` is the last position before
    /// this batch.
    pub(super) fn into_changes(self, base: i64) -> (ContextChanges, AggregateCache) {
        let (claims, cached_claims) = self.claims.into_changes();
        let (subscriptions, cached_subscriptions) = self.subscriptions.into_changes();
        let cache = AggregateCache {
            aggregates: self.aggregates,
            claims: cached_claims,
            subscriptions: cached_subscriptions,
            committed: base,
        };
        (ContextChanges { claims, subscriptions, numbers: self.numbers }, cache)
    }
}
