//! What a decision may need to know beyond its own aggregate.
//!
//! A command states its [`Needs`]; the log answers with [`Facts`] that are true at the very position at which the
//! events will stand: what was decided on facts that have changed is decided again.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::handle::Handle;
use crate::phone::UsState;

/// The three namespaces that a handle shares. Contract, section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// Handles of identities.
    Identities,
    /// Names of tunnels.
    Tunnels,
    /// Local parts of addresses on the platform's mail domain.
    Mail,
}

impl Namespace {
    /// All three, in the order in which a collision is reported.
    pub const ALL: [Self; 3] = [Self::Identities, Self::Tunnels, Self::Mail];

    /// Its wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identities => "identities",
            Self::Tunnels => "tunnels",
            Self::Mail => "mail",
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What kind of phone number is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberWish {
    /// The US state it should belong to; any if absent.
    pub state: Option<UsState>,
}

/// A number that the carrier holds ready for this command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// E.164.
    pub number: String,
    /// The state it belongs to.
    pub state: UsState,
}

/// Which vault secrets a command speaks of. Contract, section 2.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSelection {
    /// Every secret of the organization that is not deleted.
    All,
    /// Exactly these; one that does not exist fails the command.
    These(Vec<Uuid>),
}

/// What has to be looked up before a command can be decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// May this name be claimed?
    pub name: Option<Handle>,
    /// Which names does the identity itself hold? Asked by what may give them up.
    pub own_names: bool,
    /// Is this identity of the same organization live?
    pub identity: Option<Uuid>,
    /// Which identities of the organization are live?
    pub all_identities: bool,
    /// Which of these secrets exist?
    pub secrets: Option<SecretSelection>,
    /// A number from the carrier.
    pub number: Option<NumberWish>,
}

/// The answers to [`Needs`]. What was not asked for is absent or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The first namespace in which somebody else holds the name.
    pub blocked: Option<Namespace>,
    /// Whether the identity asked about is live.
    pub identity_is_live: bool,
    /// Live identities of the organization, each with a fresh id for a row that may come to name it.
    pub identities: Vec<(Uuid, Uuid)>,
    /// Those of the selected secrets that exist, each with a fresh id for an access rule.
    pub secrets: Vec<(Uuid, Uuid)>,
    /// The number that the carrier offers; none when its inventory is empty.
    pub number: Option<Offer>,
}
