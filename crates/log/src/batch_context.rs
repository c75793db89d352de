//! Everything that the commands of a batch need to know, loaded at once and kept up to date while they are decided one
//! after the other. A command sees what the ones before it in the same batch have done.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use identity_domain::api_key::ApiKey;
use identity_domain::identity::{self, Event as IdentityEvent, Identity, Visibility};
use identity_domain::vault_secret::VaultSecret;
use identity_domain::{Command, Event, Facts, Kind, Needs, NumberWish, Offer, SecretSelection, State};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::carrier::Carrier;
use crate::error::BatchError;
use crate::ids;
use crate::log::Append;
use crate::names::{self, Changed, Claims};
use crate::read;
use crate::recorded::Recorded;

/// The most aggregates whose state is kept from one batch to the next.
const REMEMBERED: usize = 20_000;

/// What is known from earlier batches.
#[derive(Debug, Default)]
pub(crate) struct AggregateCache {
    /// They save reading history again: what was appended since, by whatever process, is always read on top.
    aggregates: HashMap<Key, Aggregate>,
    /// What the last batch made of claims, which may not be committed yet.
    claims: Claims,
    /// Where the log ended before the last batch: all up to there is committed.
    committed: i64,
}

impl AggregateCache {
    /// What is left of it when others have written since: the log ends here by now, and all of it is committed.
    pub(crate) fn of_old(self, position: i64) -> Self {
        Self { committed: position, claims: Claims::default(), ..self }
    }
}

/// An aggregate's type and id: ids of different types are different, even where they read the same.
type Key = (Kind, String);

/// An aggregate as far as it is known.
#[derive(Debug, Clone)]
struct Aggregate {
    organization_id: String,
    sequence: i64,
    state: State,
    /// Where the log ended when this was last looked up or changed.
    as_of: i64,
}

/// What is known while a batch is decided.
#[derive(Debug, Default)]
pub(crate) struct BatchContext {
    aggregates: HashMap<Key, Aggregate>,
    claims: Claims,
    /// Up to where all is committed.
    committed: i64,
    /// The position since which nobody else has written.
    no_other_writer_since: i64,
    identities: HashMap<String, BTreeSet<Uuid>>,
    secrets: HashMap<String, BTreeSet<Uuid>>,
    offers: VecDeque<Offer>,
    taken: Vec<(String, Uuid)>,
}

impl BatchContext {
    /// A context in which this is known from before, and nobody else has written since a position.
    pub(crate) fn with_cache(cache: AggregateCache, no_other_writer_since: i64) -> Self {
        let AggregateCache { aggregates, claims, committed } = cache;
        Self { aggregates, claims, committed, no_other_writer_since, ..Self::default() }
    }

    /// Whether all that a command needs is looked up by keys. What an organization has in all, or a carrier has left, must
    /// be asked under the lock: what the last batch does to it is not kept.
    pub(crate) fn is_known_by_keys(append: &Append) -> bool {
        let Needs { all_identities, secrets, number, .. } = append.command.needs();
        !all_identities && !matches!(secrets, Some(SecretSelection::All)) && number.is_none()
    }

    /// Loads what `appends` need, while the log ends at `now`.
    pub(crate) async fn load(
        &mut self,
        connection: &mut PgConnection,
        carrier: &dyn Carrier,
        now: i64,
        appends: &[&Append],
    ) -> Result<(), BatchError> {
        let wanted = Wanted::by(appends);
        let mut keys = wanted.aggregates;
        for organization in wanted.secrets {
            let registered = read::registered_secrets(connection, &organization).await?;
            keys.extend(registered.iter().map(|secret| (Kind::VaultSecret, secret.to_string())));
            self.secrets.insert(organization, registered.into_iter().collect());
        }
        self.load_aggregates(connection, now, keys).await?;
        for organization in self.organizations_to_list(appends) {
            let live = names::live_identities(connection, organization).await?;
            self.identities.insert(organization.to_owned(), live.into_iter().collect());
        }
        self.load_claims(connection, wanted.names, &wanted.holders).await?;
        if !wanted.numbers.is_empty() {
            self.offers = carrier.offers(connection, &wanted.numbers).await?.into();
        }
        Ok(())
    }

    /// Organizations whose live identities a command may have to name one by one: those where an identity that everybody
    /// may see, or that this batch opens to everybody, is to be hidden from a viewer.
    fn organizations_to_list<'a>(&self, appends: &[&'a Append]) -> HashSet<&'a str> {
        let opens = |append: &&&Append| {
            matches!(append.command, Command::Identity(identity::Command::OpenVisibility { .. }))
        };
        let opened: HashSet<&str> =
            appends.iter().filter(opens).map(|append| append.aggregate_id.as_str()).collect();
        let wanting = appends.iter().filter(|append| append.command.needs().all_identities);
        wanting
            .filter(|append| opened.contains(append.aggregate_id.as_str()) || self.is_open(append))
            .map(|append| append.organization_id.as_str())
            .collect()
    }

    /// Whether everybody in the organization may see the identity that a command is for.
    fn is_open(&self, append: &Append) -> bool {
        self.aggregate_of(append).is_some_and(|known| match &known.state {
            State::Identity(Identity::Live(live)) => live.visibility == Visibility::Wildcard,
            _ => false,
        })
    }

    /// Reads on where what is known ends. Whatever was looked up since others wrote last is known to its end.
    async fn load_aggregates(
        &mut self,
        connection: &mut PgConnection,
        now: i64,
        mut keys: HashSet<Key>,
    ) -> Result<(), BatchError> {
        if self.aggregates.len() + keys.len() > REMEMBERED {
            self.aggregates.retain(|_, known| known.as_of > self.committed);
        }
        keys.retain(|key| {
            self.aggregates.get(key).is_none_or(|known| known.as_of < self.no_other_writer_since)
        });
        if keys.is_empty() {
            return Ok(());
        }
        let seen: Vec<i64> = keys.iter().map(|key| self.sequence(key)).collect();
        let (kinds, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(kind, id)| (kind.as_str(), id.as_str())).unzip();
        for event in read::aggregates(connection, &kinds, &ids, &seen).await? {
            self.evolve(&event);
        }
        for key in &keys {
            if let Some(known) = self.aggregates.get_mut(key) {
                known.as_of = now;
            }
        }
        Ok(())
    }

    /// Claims on names that are wanted, and on those that their holders may come to give up.
    async fn load_claims(
        &mut self,
        connection: &mut PgConnection,
        mut names: HashSet<String>,
        holders: &[String],
    ) -> Result<(), BatchError> {
        for holder in holders {
            let known = self.aggregates.get(&(Kind::Identity, holder.clone()));
            if let Some(State::Identity(Identity::Live(live))) = known.map(|known| &known.state) {
                names.extend(names::held(live).map(str::to_owned));
            }
        }
        Ok(self.claims.load(connection, names.into_iter()).await?)
    }

    /// Whether whoever asks may still act: the key is active, and the identity that it is bound to is live.
    pub(crate) fn may_act(&self, append: &Append) -> bool {
        let Some((key, identity)) = append.actor.key() else { return true };
        let organization = append.organization_id.as_str();
        let key = self.aggregate(organization, Kind::ApiKey, key.to_string());
        key.is_some_and(|key| key.state == State::ApiKey(ApiKey::Active))
            && identity.is_none_or(|identity| self.identity_is_live(organization, identity))
    }

    /// The state of the aggregate that a command is for.
    pub(crate) fn state(&self, append: &Append) -> Cow<'_, State> {
        let known = self.aggregate_of(append);
        known.map_or_else(
            || Cow::Owned(State::initial(append.command.kind())),
            |known| Cow::Borrowed(&known.state),
        )
    }

    /// The version of the aggregate that a command is for; 0 if it has no event.
    pub(crate) fn version(&self, append: &Append) -> i64 {
        self.aggregate_of(append).map_or(0, |known| known.sequence)
    }

    fn aggregate_of(&self, append: &Append) -> Option<&Aggregate> {
        self.aggregate(&append.organization_id, append.command.kind(), append.aggregate_id.clone())
    }

    /// An aggregate of this organization. An aggregate of another organization counts as none.
    fn aggregate(&self, organization: &str, kind: Kind, id: String) -> Option<&Aggregate> {
        self.aggregates.get(&(kind, id)).filter(|known| known.organization_id == organization)
    }

    fn sequence(&self, key: &Key) -> i64 {
        self.aggregates.get(key).map_or(0, |known| known.sequence)
    }

    /// Answers what a command needs to know, as of `now`.
    pub(crate) fn facts(&self, append: &Append, name_hold: Duration, now: OffsetDateTime) -> Facts {
        let Needs { name, identity, all_identities, secrets, number, own_names: _ } = append.command.needs();
        let organization = append.organization_id.as_str();
        Facts {
            blocked: name
                .and_then(|name| self.claims.blocker(name.as_str(), &append.aggregate_id, name_hold, now)),
            identity_is_live: identity.is_some_and(|identity| self.identity_is_live(organization, identity)),
            identities: if all_identities && self.is_open(append) {
                self.live_identities(organization)
            } else {
                vec![]
            },
            secrets: secrets.map_or_else(Vec::new, |selection| self.live_secrets(organization, &selection)),
            number: number.and_then(|wish| self.offer(&wish)),
        }
    }

    fn identity_is_live(&self, organization: &str, identity: Uuid) -> bool {
        self.aggregate(organization, Kind::Identity, identity.to_string())
            .is_some_and(|known| matches!(known.state, State::Identity(Identity::Live(_))))
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
        self.aggregate(organization, Kind::VaultSecret, secret.to_string())
            .is_some_and(|known| known.state == State::VaultSecret(VaultSecret::Live))
    }

    fn offer(&self, wish: &NumberWish) -> Option<Offer> {
        self.offers.iter().find(|offer| wish.state.is_none_or(|state| state == offer.state)).cloned()
    }

    /// Takes note of an event that a command of this batch came to.
    pub(crate) fn learn(&mut self, recorded: &Recorded) {
        self.evolve(recorded);
        self.claims.learn(recorded);
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
                self.taken.push((phone.number.clone(), id));
            }
            Event::VaultSecret(_) => {
                if let Some(registered) = self.secrets.get_mut(&recorded.organization_id) {
                    registered.insert(id);
                }
            }
            Event::Identity(_) | Event::ApiKey(_) | Event::Organization(_) => {}
        }
    }

    fn evolve(&mut self, recorded: &Recorded) {
        let known = self
            .aggregates
            .entry((recorded.event.kind(), recorded.aggregate_id.clone()))
            .or_insert_with(|| Aggregate {
                organization_id: recorded.organization_id.clone(),
                sequence: 0,
                state: State::initial(recorded.event.kind()),
                as_of: 0,
            });
        known.as_of = recorded.position;
        known.sequence = recorded.sequence;
        known.state.evolve(&recorded.event);
    }

    /// The claims that commands of this batch have changed, the numbers that they have taken, each with the identity that
    /// has it, and what is worth keeping for the next batch. The log ended at `base` before.
    pub(crate) fn settle(self, base: i64) -> (Vec<Changed>, Vec<(String, Uuid)>, AggregateCache) {
        let (changed, claims) = self.claims.settle();
        let cache = AggregateCache { aggregates: self.aggregates, claims, committed: base };
        (changed, self.taken, cache)
    }
}

/// What a batch needs, without repetition.
#[derive(Default)]
struct Wanted {
    aggregates: HashSet<Key>,
    names: HashSet<String>,
    /// Identities that may come to give up names.
    holders: Vec<String>,
    secrets: HashSet<String>,
    numbers: Vec<NumberWish>,
}

impl Wanted {
    fn by(appends: &[&Append]) -> Self {
        let mut wanted = Self::default();
        for append in appends {
            wanted.add(append);
        }
        wanted
    }

    fn add(&mut self, append: &Append) {
        let Needs { name, own_names, identity, all_identities: _, secrets, number } = append.command.needs();
        if own_names {
            self.holders.push(append.aggregate_id.clone());
        }
        if !append.command.begins() {
            self.aggregates.insert((append.command.kind(), append.aggregate_id.clone()));
        }
        self.names.extend(name.map(String::from));
        self.aggregates.extend(identity.map(|identity| (Kind::Identity, identity.to_string())));
        if let Some((key, identity)) = append.actor.key() {
            self.aggregates.insert((Kind::ApiKey, key.to_string()));
            self.aggregates.extend(identity.map(|identity| (Kind::Identity, identity.to_string())));
        }
        match secrets {
            Some(SecretSelection::All) => {
                self.secrets.insert(append.organization_id.clone());
            }
            Some(SecretSelection::These(secrets)) => {
                let named = secrets.iter().map(|secret| (Kind::VaultSecret, secret.to_string()));
                self.aggregates.extend(named);
            }
            None => {}
        }
        self.numbers.extend(number);
    }
}
