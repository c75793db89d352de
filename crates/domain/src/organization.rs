//! The `Organization` aggregate: the owner of identities and keys.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::decider::Decider;
use crate::facts::Facts;
use crate::upcasting::present_version;

/// The state of an organization, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Organization {
    /// No event yet.
    #[default]
    NotYet,
    /// It exists.
    Live,
}

/// A command to an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Create the organization.
    Create {
        /// Its name, which need not be unique.
        name: String,
    },
}

/// An event of an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was created.
    #[serde(rename = "organization.created")]
    Created {
        /// Its name.
        name: String,
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
            Self::Created { .. } => "organization.created",
        }
    }
}

/// Why an organization refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrganizationError {
    /// An organization with this id was created before.
    #[error("organization already created")]
    AlreadyCreated,
}

impl Decider for Organization {
    fn begins(command: &Command) -> bool {
        matches!(command, Command::Create { .. })
    }

    fn decide(&self, command: &Command, _facts: &Facts) -> Result<Vec<Event>, OrganizationError> {
        match (self, command) {
            (Self::NotYet, Command::Create { name }) => Ok(vec![Event::Created { name: name.clone() }]),
            (Self::Live, Command::Create { .. }) => Err(OrganizationError::AlreadyCreated),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Created { .. } => *self = Self::Live,
        }
    }
}

#[cfg(test)]
mod tests;
