//! The settings of the log.

use std::time::Duration;

/// How long the committer waits for an answer of Postgres, unless the settings say otherwise.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(12);

/// The settings of the log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a name stays reserved after its holder gave it up.
    pub name_hold: Duration,
    /// How long the committer waits for an answer of Postgres before it drops the connection. Postgres itself ends a
    /// statement after 10 s, so this limit is for a host that does not answer at all.
    pub database_timeout: Duration,
}

impl Settings {
    /// The default settings with this hold on names.
    pub fn with_name_hold(name_hold: Duration) -> Self {
        Self { name_hold, database_timeout: DATABASE_TIMEOUT }
    }
}
