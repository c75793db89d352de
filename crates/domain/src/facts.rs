//! The data that a decision needs beyond its own aggregate.
//!
//! A command states its [`Needs`], and the log answers with [`Facts`]. The facts are true at the position at which
//! the events of the command are written: if they have changed since they were looked up, the command is decided
//! again.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::handle::Handle;
use crate::moment::Moment;
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
    /// All namespaces, in the order in which a collision is reported.
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

/// The kind of phone number that a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberWish {
    /// The US state of the number; `None` means any.
    pub state: Option<UsState>,
}

/// A free number of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The number in E.164.
    pub number: String,
    /// Its US state.
    pub state: UsState,
}

/// The vault secrets that a command names. Contract, section 2.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSelection {
    /// Every secret of the organization that is not deleted.
    All,
    /// Exactly these. If one does not exist, the command is refused.
    These(Vec<Uuid>),
}

/// The webhook subscriptions that a command adds to, or makes active again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionNeed {
    /// The identity of the subscription.
    pub identity_id: Uuid,
    /// The id of its owner.
    pub owner_id: Uuid,
    /// True if the command creates a subscription, false if it makes one active again.
    pub is_new: bool,
}

/// A limit of webhook subscriptions that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionLimit {
    /// The owner has as many active subscriptions as it may have.
    Owner,
    /// The organization has as many subscriptions as it may have.
    Organization,
}

/// What has to be looked up before a command can be decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Whether this name can be claimed.
    pub name: Option<Handle>,
    /// The names of the identity itself. Set by commands that may give them up.
    pub own_names: bool,
    /// Whether this identity of the same organization is live.
    pub identity: Option<Uuid>,
    /// All live identities of the organization.
    pub all_identities: bool,
    /// Which of these secrets exist.
    pub secrets: Option<SecretSelection>,
    /// A free number of this kind.
    pub number: Option<NumberWish>,
    /// Whether there may be one more of these webhook subscriptions.
    pub subscriptions: Option<SubscriptionNeed>,
    /// The webhook subscriptions of the identity itself, which may end with the command. They are loaded, and are not
    /// among the facts.
    pub own_subscriptions: bool,
}

impl Needs {
    /// Whether something is looked up of a whole organization: all its identities, or all its secrets. The command may then write
    /// a row for each of them.
    pub fn whole_organization(&self) -> bool {
        self.all_identities || matches!(self.secrets, Some(SecretSelection::All))
    }
}

/// The answers to [`Needs`]. A fact that no need asks for is `None`, `false` or empty. The moment is always known, and so is
/// whether the id is taken where the aggregate was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The moment at which the command is decided, which its events have.
    pub now: Moment,
    /// Whether another organization has an aggregate of the type and id that the command is for.
    pub id_is_taken: bool,
    /// The first namespace in which the name cannot be claimed.
    pub blocked: Option<Namespace>,
    /// Whether the identity of the need is live.
    pub identity_is_live: bool,
    /// All live identities of the organization, each with a new id for an access row.
    pub identities: Vec<(Uuid, Uuid)>,
    /// The selected secrets that exist, each with a new id for an access rule.
    pub secrets: Vec<(Uuid, Uuid)>,
    /// A free number of the pool; `None` if it has none of this kind.
    pub number: Option<Offer>,
    /// How long the identity has to wait until it may get another handle; `None` if it may now.
    pub wait_for_rename: Option<Duration>,
    /// How long the identity has to wait until it may get another phone number; `None` if it may now.
    pub wait_for_number: Option<Duration>,
    /// The limit that one more webhook subscription would exceed.
    pub subscription_limit: Option<SubscriptionLimit>,
}
