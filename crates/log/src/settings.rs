//! The settings of the log.

use std::time::Duration;

use identity_proof::SealKey;

/// How long the committer waits for an answer of Postgres, unless the settings say otherwise.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(12);

/// How far the clock of the database may jump ahead, unless the settings say otherwise.
const MAX_CLOCK_JUMP: Duration = Duration::from_mins(1);

/// The settings of the log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a name stays reserved after its holder gave it up.
    pub name_hold: Duration,
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
        Self { name_hold, database_timeout: DATABASE_TIMEOUT, max_clock_jump: MAX_CLOCK_JUMP, seal_key }
    }
}
