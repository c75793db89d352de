//! What the commands of a batch have to look up.

use std::collections::HashSet;

use identity_domain::{Kind, Needs, NumberWish, SecretSelection, SubscriptionNeed};
use uuid::Uuid;

use crate::append::Append;

/// An aggregate's type and id. Two aggregates of different types are different even if their ids are the same.
pub(super) type AggregateKey = (Kind, String);

/// The webhook subscriptions that the commands of a batch have to look up.
#[derive(Default)]
pub(super) struct SubscriptionNeeds {
    /// Those that a command changes.
    pub(super) these: HashSet<Uuid>,
    /// Identities of which all are needed.
    pub(super) of_identities: HashSet<Uuid>,
    /// Organizations of which the number is needed.
    pub(super) counted: HashSet<String>,
}

/// What the commands of a batch have to look up, without duplicates.
#[derive(Default)]
pub(super) struct BatchNeeds {
    pub(super) aggregates: HashSet<AggregateKey>,
    /// Names that a command claims.
    pub(super) names: HashSet<String>,
    /// Identities that may give up names.
    pub(super) holders: Vec<String>,
    /// Organizations of which all secrets are needed.
    pub(super) secrets_of: HashSet<String>,
    pub(super) numbers: Vec<NumberWish>,
    pub(super) subscriptions: SubscriptionNeeds,
}

impl BatchNeeds {
    pub(super) fn of(appends: &[&Append]) -> Self {
        let mut needs = Self::default();
        for append in appends.iter().flat_map(|append| append.commands()) {
            needs.add(append);
        }
        needs
    }

    fn add(&mut self, append: &Append) {
        let Needs {
            name,
            own_names,
            identity,
            all_identities: _,
            secrets,
            number,
            subscriptions,
            own_subscriptions,
        } = append.command.needs();
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
                self.secrets_of.insert(append.organization_id.clone());
            }
            Some(SecretSelection::These(secrets)) => {
                let named = secrets.iter().map(|secret| (Kind::VaultSecret, secret.to_string()));
                self.aggregates.extend(named);
            }
            None => {}
        }
        self.numbers.extend(number);
        let id = append.aggregate_id.parse::<Uuid>().ok();
        let wanted = &mut self.subscriptions;
        wanted.of_identities.extend(id.filter(|_| own_subscriptions));
        wanted.these.extend(id.filter(|_| append.command.kind() == Kind::WebhookSubscription));
        if let Some(SubscriptionNeed { identity_id, is_new, .. }) = subscriptions {
            wanted.of_identities.insert(identity_id);
            wanted.counted.extend(is_new.then(|| append.organization_id.clone()));
        }
    }
}
