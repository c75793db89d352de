//! The `VaultSecret` aggregate: a reference to a secret that is kept elsewhere. Events of the identities say which of
//! them may use it.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::decider::Decider;
use crate::facts::{Facts, Needs};

/// The state of a vault secret, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultSecret {
    /// No event yet.
    #[default]
    NotYet,
    /// It exists.
    Live,
    /// It was deleted, and with it all access.
    Deleted,
}

/// A command to a vault secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Register the secret.
    Register(Registration),
    /// Delete the secret.
    Delete,
}

/// The data of a new vault secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name.
    pub name: String,
    /// Its kind, as a hint.
    pub secret_type: SecretType,
    /// Free text.
    pub description: Option<String>,
}

/// A hint at the kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretType {
    /// A single token.
    ApiKey,
    /// An access key and its secret.
    KeyPair,
    /// A user name and a password.
    Login,
    /// An SSH key.
    SshKey,
    /// Anything else.
    #[default]
    Other,
}

/// An event of a vault secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was registered.
    #[serde(rename = "vault_secret.registered")]
    Registered(Registration),
    /// It was deleted.
    #[serde(rename = "vault_secret.deleted")]
    Deleted {},
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Event {
    /// The wire name, the same as the `type` of the payload.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Registered(_) => "vault_secret.registered",
            Self::Deleted {} => "vault_secret.deleted",
        }
    }
}

/// Why a vault secret refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultSecretError {
    /// The secret does not exist, or was deleted.
    #[error("vault secret not found")]
    NotFound,
    /// A secret with this id was registered before.
    #[error("vault secret already registered")]
    AlreadyRegistered,
}

impl Decider for VaultSecret {
    const TYPE: &'static str = "vault_secret";
    type Command = Command;
    type Event = Event;
    type Error = VaultSecretError;

    fn needs(_command: &Command) -> Needs {
        Needs::default()
    }

    fn decide(&self, command: &Command, _facts: &Facts) -> Result<Vec<Event>, VaultSecretError> {
        match (self, command) {
            (Self::NotYet, Command::Register(registration)) => {
                Ok(vec![Event::Registered(registration.clone())])
            }
            (Self::Live | Self::Deleted, Command::Register(_)) => Err(VaultSecretError::AlreadyRegistered),
            (Self::Live, Command::Delete) => Ok(vec![Event::Deleted {}]),
            (Self::NotYet | Self::Deleted, Command::Delete) => Err(VaultSecretError::NotFound),
        }
    }

    fn evolve(&mut self, event: &Event) {
        *self = match event {
            Event::Registered(_) => Self::Live,
            Event::Deleted {} => Self::Deleted,
        };
    }
}

#[cfg(test)]
mod tests;
