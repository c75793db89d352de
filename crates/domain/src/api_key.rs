//! The `ApiKey` aggregate: a credential of an organization, bound to one agent or to none.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decider::Decider;
use crate::facts::{Facts, Needs};

/// A key as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiKey {
    /// No event yet.
    #[default]
    NotYet,
    /// It opens the door, as long as its identity lives.
    Active,
    /// It never opens it again.
    Revoked,
}

/// What may be asked of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Bring it into being.
    Issue(Box<Issue>),
    /// End it. Nothing to do if it was ended before.
    Revoke,
}

/// A key to be issued. The secret itself never gets here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// What people call it.
    pub label: String,
    /// Free text.
    pub description: Option<String>,
    /// What it may do.
    pub scope: Scope,
    /// SHA-256 of the secret, lower-case hexadecimal. The secret has 256 random bits, so its digest tells nothing.
    pub secret_sha256: String,
    /// The last four characters of the secret, for people to recognize it by.
    pub last4: String,
    /// The key that asked for it, or `operator` for the command line.
    pub created_by: String,
}

/// What a key may do, fixed when it is issued. Contract, section 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    /// Everything in its organization.
    Admin,
    /// What one identity may do.
    Agent {
        /// Which.
        identity_id: Uuid,
    },
    /// Reading the history of its organization, and nothing else.
    Auditor,
}

/// What can have happened to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It came into being.
    #[serde(rename = "api_key.issued")]
    Issued(Issue),
    /// It was ended.
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
    /// There is none.
    #[error("API key not found")]
    NotFound,
    /// The id was used before.
    #[error("API key already issued")]
    AlreadyIssued,
    /// The identity it should be bound to is not a live one of the organization.
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
