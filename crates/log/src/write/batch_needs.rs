//! What the commands of a batch have to look up.

use std::collections::HashSet;

use identity_domain::{Kind, Needs, NumberWish, SecretSelection};

use crate::append::Append;

/// An aggregate's type and id. Two aggregates of different types are different even if their ids are the same.
pub(super) type AggregateKey = (Kind, String);

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
}

impl BatchNeeds {
    pub(super) fn of(appends: &[&Append]) -> Self {
        let mut needs = Self::default();
        for append in appends {
            needs.add(append);
        }
        needs
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
                self.secrets_of.insert(append.organization_id.clone());
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
