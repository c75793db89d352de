//! The settings of the log.

use std::time::Duration;

use identity_proof::SealKey;

use crate::write::recent::MAX_REMEMBERED;

/// How long the committer waits for an answer of Postgres, unless the settings say otherwise.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(12);

/// How far the clock of the database may jump ahead, unless the settings say otherwise.
const MAX_CLOCK_JUMP: Duration = Duration::from_mins(1);

/// The settings of the log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a name stays reserved after its holder gave it up.
    pub name_hold: Duration,
    /// What one identity may use up of what belongs to all.
    pub quotas: Quotas,
    /// How many webhook subscriptions there may be.
    pub subscriptions: SubscriptionLimits,
    /// How long the committer waits for an answer of Postgres before it drops the connection. Postgres itself ends a
    /// statement after 10 s, so this limit is for a host that does not answer at all.
    pub database_timeout: Duration,
    /// How far the clock of the database may jump ahead before nothing is written, and how long a jump must last to be
    /// believed.
    pub max_clock_jump: Duration,
    /// The key that seals events. The signer refuses an event that it has not sealed.
    pub seal_key: SealKey,
}

impl Settings {
    /// The default settings with this hold on names and this key.
    pub fn new(name_hold: Duration, seal_key: SealKey) -> Self {
        Self {
            name_hold,
            quotas: Quotas::default(),
            subscriptions: SubscriptionLimits::default(),
            database_timeout: DATABASE_TIMEOUT,
            max_clock_jump: MAX_CLOCK_JUMP,
            seal_key,
        }
    }
}

/// What one identity may use up of what belongs to all: names and phone numbers. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Phone numbers that it gets within a day.
    pub numbers_per_day: u32,
    /// Times that it is renamed within a day.
    pub renames_per_day: u32,
    /// Names that it gave up and that nobody else may have yet. If it gives up more, the oldest is free.
    pub names_held: u32,
}

impl Quotas {
    /// The largest daily limit: so many moments are remembered.
    pub const MAX_PER_DAY: u32 = MAX_REMEMBERED;
}

impl Default for Quotas {
    fn default() -> Self {
        Self { numbers_per_day: 5, renames_per_day: 10, names_held: 10 }
    }
}

/// How many webhook subscriptions there may be. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionLimits {
    /// Active ones of one mailbox, phone number or identity.
    pub of_owner: u32,
    /// All of one organization.
    pub of_organization: u32,
}

impl Default for SubscriptionLimits {
    fn default() -> Self {
        Self { of_owner: 20, of_organization: 1000 }
    }
}
