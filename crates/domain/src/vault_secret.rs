//! The `VaultSecret` aggregate: a secret of the vault, or a reference to one that is kept elsewhere. Events of the identities
//! say which of them may use it. The content is encrypted by clients and kept beside the history; events have a digest of it.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::decider::Decider;
use crate::facts::Facts;
use crate::upcasting::present_version;

/// The state of a vault secret, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultSecret {
    /// No event yet.
    #[default]
    NotYet,
    /// It exists.
    Live(Live),
    /// It was deleted, and all access to it ended.
    Deleted,
}

/// The state of a live vault secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// SHA-256 of its content, if it has any.
    pub content_sha256: Option<String>,
}

/// A command to a vault secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Register the secret.
    Register {
        /// Its data.
        registration: Registration,
        /// SHA-256 of its content, if it has any.
        content_sha256: Option<String>,
    },
    /// Change some fields; the others stay.
    Update(Update),
    /// Delete the secret.
    Delete,
}

/// Changes of a vault secret. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<Option<String>>,
    /// SHA-256 of new content.
    pub content_sha256: Option<String>,
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
    /// Its name changed.
    #[serde(rename = "vault_secret.name_changed")]
    NameChanged {
        /// The new name.
        name: String,
    },
    /// Its description changed.
    #[serde(rename = "vault_secret.description_changed")]
    DescriptionChanged {
        /// The new value; `None` if it was cleared.
        description: Option<String>,
    },
    /// It got content, which replaces the content that it had. The client has encrypted it.
    #[serde(rename = "vault_secret.content_set")]
    ContentSet {
        /// SHA-256 of the encrypted content, in lower-case hexadecimal.
        content_sha256: String,
    },
    /// It was deleted.
    #[serde(rename = "vault_secret.deleted")]
    Deleted {},
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
            Self::Registered(_) => "vault_secret.registered",
            Self::NameChanged { .. } => "vault_secret.name_changed",
            Self::DescriptionChanged { .. } => "vault_secret.description_changed",
            Self::ContentSet { .. } => "vault_secret.content_set",
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
    /// A secret with this id was registered before, here or elsewhere.
    #[error("vault secret already registered")]
    AlreadyRegistered,
}

impl Decider for VaultSecret {
    fn ends_with(event: &Event) -> bool {
        matches!(event, Event::Deleted {})
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<Event>, VaultSecretError> {
        match (self, command) {
            (Self::NotYet, Command::Register { registration, content_sha256 }) if !facts.id_is_taken => {
                Ok(registered(registration, content_sha256.as_ref()))
            }
            (_, Command::Register { .. }) => Err(VaultSecretError::AlreadyRegistered),
            (Self::Live(live), Command::Update(update)) => Ok(updated(live, update)),
            (Self::Live(_), Command::Delete) => Ok(vec![Event::Deleted {}]),
            (Self::NotYet | Self::Deleted, _) => Err(VaultSecretError::NotFound),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match (&mut *self, event) {
            (_, Event::Registered(Registration { name, description, .. })) => {
                let (name, description) = (name.clone(), description.clone());
                *self = Self::Live(Live { name, description, content_sha256: None });
            }
            (_, Event::Deleted {}) => *self = Self::Deleted,
            (Self::Live(live), Event::NameChanged { name }) => live.name.clone_from(name),
            (Self::Live(live), Event::DescriptionChanged { description }) => {
                live.description.clone_from(description);
            }
            (Self::Live(live), Event::ContentSet { content_sha256 }) => {
                live.content_sha256 = Some(content_sha256.clone());
            }
            (Self::NotYet | Self::Deleted, _) => {}
        }
    }
}

fn registered(registration: &Registration, content_sha256: Option<&String>) -> Vec<Event> {
    let content = content_sha256.map(|digest| Event::ContentSet { content_sha256: digest.clone() });
    [Event::Registered(registration.clone())].into_iter().chain(content).collect()
}

/// A field that keeps its value yields no event.
fn updated(live: &Live, update: &Update) -> Vec<Event> {
    let Update { name, description, content_sha256 } = update.clone();
    let mut events = Vec::new();
    if let Some(name) = name.filter(|name| *name != live.name) {
        events.push(Event::NameChanged { name });
    }
    if let Some(description) = description.filter(|description| *description != live.description) {
        events.push(Event::DescriptionChanged { description });
    }
    let is_new = |digest: &String| Some(digest) != live.content_sha256.as_ref();
    if let Some(content_sha256) = content_sha256.filter(is_new) {
        events.push(Event::ContentSet { content_sha256 });
    }
    events
}

#[cfg(test)]
mod tests;
