//! The `ApiKey` aggregate: a credential of an organization. An agent key is bound to one identity.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decider::Decider;
use crate::facts::{Facts, Needs};

/// The state of a key, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKey {
    /// No event yet.
    #[default]
    NotYet,
    /// It is valid, as long as its identity is live.
    Active,
    /// It was revoked, and is never valid again.
    Revoked,
}

/// A command to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Issue the key.
    Issue(Box<Issue>),
    /// Revoke the key. Changes nothing if it was revoked before.
    Revoke,
}

/// The data of a new key. The secret itself is never part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Its name.
    pub label: String,
    /// Free text.
    pub description: Option<String>,
    /// Its scope.
    pub scope: Scope,
    /// SHA-256 of the secret in lower-case hexadecimal. The secret has 256 random bits, so it cannot be found from
    /// the digest.
    pub secret_sha256: String,
    /// The last four characters of the secret, by which people recognize it.
    pub last4: String,
    /// The key that issued it, or `operator` for the command line.
    pub created_by: String,
}

/// What a key may do. It never changes. Contract, section 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    /// May do everything in its organization.
    Admin,
    /// May do what one identity may do.
    Agent {
        /// The identity.
        identity_id: Uuid,
    },
    /// May read the history of its organization, and do nothing else.
    Auditor,
}

/// An event of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was issued.
    #[serde(rename = "api_key.issued")]
    Issued(Issue),
    /// It was revoked.
    #[serde(rename = "api_key.revoked")]
    Revoked {},
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
            Self::Issued(_) => "api_key.issued",
            Self::Revoked {} => "api_key.revoked",
        }
    }
}

/// Why a key refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// The key does not exist.
    #[error("API key not found")]
    NotFound,
    /// A key with this id was issued before.
    #[error("API key already issued")]
    AlreadyIssued,
    /// The identity of an agent key is not a live identity of the organization.
    #[error("identity not found")]
    IdentityNotFound,
}

impl Decider for ApiKey {
    const TYPE: &'static str = "api_key";
    type Command = Command;
    type Event = Event;
    type Error = ApiKeyError;

    fn needs(command: &Command) -> Needs {
        let identity = match command {
            Command::Issue(issue) => match issue.scope {
                Scope::Agent { identity_id } => Some(identity_id),
                Scope::Admin | Scope::Auditor => None,
            },
            Command::Revoke => None,
        };
        Needs { identity, ..Needs::default() }
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<Event>, ApiKeyError> {
        match (self, command) {
            (Self::NotYet, Command::Issue(issue)) => issued(issue, facts),
            (Self::Active | Self::Revoked, Command::Issue(_)) => Err(ApiKeyError::AlreadyIssued),
            (Self::NotYet, Command::Revoke) => Err(ApiKeyError::NotFound),
            (Self::Active, Command::Revoke) => Ok(vec![Event::Revoked {}]),
            (Self::Revoked, Command::Revoke) => Ok(vec![]),
        }
    }

    fn evolve(&mut self, event: &Event) {
        *self = match event {
            Event::Issued(_) => Self::Active,
            Event::Revoked {} => Self::Revoked,
        };
    }
}

fn issued(issue: &Issue, facts: &Facts) -> Result<Vec<Event>, ApiKeyError> {
    if matches!(issue.scope, Scope::Agent { .. }) && !facts.identity_is_live {
        return Err(ApiKeyError::IdentityNotFound);
    }
    Ok(vec![Event::Issued(issue.clone())])
}

#[cfg(test)]
mod tests;
