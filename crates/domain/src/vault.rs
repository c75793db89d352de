//! The `Vault` aggregate: the keys that open the vault of an organization. An organization has one vault.
//!
//! The content of the vault is encrypted by clients with a key that the service never has. Each vault key opens a copy of
//! that key, which the service keeps wrapped, beside the history. Events name vault keys and have a digest of what is kept.

use std::collections::BTreeMap;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::decider::Decider;
use crate::facts::Facts;
use crate::upcasting::present_version;

/// The state of a vault, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vault {
    /// No event yet.
    #[default]
    NotYet,
    /// It has these keys.
    Live(BTreeMap<Uuid, KeyType>),
}

/// A command to a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Initialize the vault.
    Initialize {
        /// Its first keys, one of which is primary.
        keys: Vec<Key>,
    },
    /// Replace the primary key.
    ReplacePrimary {
        /// The new primary key.
        key: Key,
        /// The keys that it replaces: the primary key, and the recovery key that was used for it.
        replaced: Vec<Uuid>,
    },
    /// Delete a key. The last one cannot be deleted, since nothing would open the vault any more.
    DeleteKey {
        /// The key.
        key_id: Uuid,
    },
}

/// A vault key, as history has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: Uuid,
    /// What it is for.
    pub key_type: KeyType,
    /// SHA-256 of the wrapped key in lower-case hexadecimal.
    pub wrapped_sha256: String,
}

/// What a vault key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VaultKeyType)]
pub enum KeyType {
    /// It opens the vault from day to day.
    Primary,
    /// It opens the vault when the primary key is lost.
    Recovery,
}

/// An event of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was initialized.
    #[serde(rename = "vault.initialized")]
    Initialized {
        /// Its first keys.
        keys: Vec<Key>,
    },
    /// Its primary key was replaced.
    #[serde(rename = "vault.primary_key_replaced")]
    PrimaryKeyReplaced {
        /// The new primary key.
        key: Key,
        /// The keys that were deleted: the previous primary key, and the recovery key that was used to replace it.
        replaced: Vec<Uuid>,
    },
    /// A key was deleted.
    #[serde(rename = "vault.key_deleted")]
    KeyDeleted {
        /// The key.
        key_id: Uuid,
    },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        present_version(self.name()).to_owned()
    }
}

impl Event {
    /// The wire name, the same as the `type` of the payload.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Initialized { .. } => "vault.initialized",
            Self::PrimaryKeyReplaced { .. } => "vault.primary_key_replaced",
            Self::KeyDeleted { .. } => "vault.key_deleted",
        }
    }
}

/// Why a vault refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The organization has no vault yet.
    #[error("vault not initialized")]
    NotInitialized,
    /// The organization has a vault already.
    #[error("vault already initialized")]
    AlreadyInitialized,
    /// A key that the command names is not a key of the vault, or not any more.
    #[error("vault key not found")]
    KeyNotFound,
    /// The vault has a key with the id of a new one.
    #[error("vault key already exists")]
    KeyExists,
    /// The last key cannot be deleted.
    #[error("the last key of a vault cannot be deleted")]
    LastKey,
}

impl Decider for Vault {
    fn decide(&self, command: &Command, _facts: &Facts) -> Result<Vec<Event>, VaultError> {
        match (self, command) {
            (Self::NotYet, Command::Initialize { keys }) => {
                Ok(vec![Event::Initialized { keys: keys.clone() }])
            }
            (Self::Live(_), Command::Initialize { .. }) => Err(VaultError::AlreadyInitialized),
            (Self::NotYet, _) => Err(VaultError::NotInitialized),
            (Self::Live(keys), Command::ReplacePrimary { key, replaced }) => {
                primary_replaced(keys, key, replaced)
            }
            (Self::Live(keys), Command::DeleteKey { key_id }) => key_deleted(keys, *key_id),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match (&mut *self, event) {
            (_, Event::Initialized { keys }) => {
                *self = Self::Live(keys.iter().map(|key| (key.id, key.key_type)).collect());
            }
            (Self::Live(keys), Event::PrimaryKeyReplaced { key, replaced }) => {
                keys.retain(|id, _| !replaced.contains(id));
                keys.insert(key.id, key.key_type);
            }
            (Self::Live(keys), Event::KeyDeleted { key_id }) => {
                keys.remove(key_id);
            }
            (Self::NotYet, Event::PrimaryKeyReplaced { .. } | Event::KeyDeleted { .. }) => {}
        }
    }
}

/// Every primary key must be among those that are replaced: another one may have come since the caller looked.
fn primary_replaced(
    keys: &BTreeMap<Uuid, KeyType>,
    key: &Key,
    replaced: &[Uuid],
) -> Result<Vec<Event>, VaultError> {
    if keys.contains_key(&key.id) {
        return Err(VaultError::KeyExists);
    }
    let mut primary = keys.iter().filter(|(_, key_type)| **key_type == KeyType::Primary);
    if !replaced.iter().all(|id| keys.contains_key(id)) || !primary.all(|(id, _)| replaced.contains(id)) {
        return Err(VaultError::KeyNotFound);
    }
    Ok(vec![Event::PrimaryKeyReplaced { key: key.clone(), replaced: replaced.to_vec() }])
}

fn key_deleted(keys: &BTreeMap<Uuid, KeyType>, key_id: Uuid) -> Result<Vec<Event>, VaultError> {
    if !keys.contains_key(&key_id) {
        return Err(VaultError::KeyNotFound);
    }
    if keys.len() == 1 {
        return Err(VaultError::LastKey);
    }
    Ok(vec![Event::KeyDeleted { key_id }])
}

#[cfg(test)]
mod tests;
