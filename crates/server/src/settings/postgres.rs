//! Settings of how Postgres is used.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Deserialize;

const DEFAULT_CONNECTIONS: u32 = 16;
const MAX_CONNECTIONS: u32 = 1_000;
const DEFAULT_REBUILD_WORKERS: u32 = 4;
const MAX_REBUILD_WORKERS: u32 = 64;
const DEFAULT_MAX_CLOCK_JUMP_SECONDS: u32 = 60;
const DEFAULT_TIMEOUT_SECONDS: u32 = 12;
const DEFAULT_MAX_UNCONFIRMED_SECONDS: u32 = 5;
const MAX_SECONDS: u32 = 3_600;

/// How Postgres is used, in one layer of settings: flags and environment, or the table `postgres` of the settings file.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresLayer {
    /// Connections that read for clients, besides some for everything else [default: 16]
    #[arg(long, env = "IDENTITYD_DATABASE_CONNECTIONS", value_name = "NUMBER")]
    pub database_connections: Option<u32>,

    /// Ranges of the log that are folded at the same time when an outdated read model is rebuilt at the start, each
    /// with two connections [default: 4]
    #[arg(long, env = "IDENTITYD_REBUILD_WORKERS", value_name = "NUMBER")]
    pub rebuild_workers: Option<u32>,

    /// Seconds by which the clock of the database may jump ahead; after a longer jump nothing is written until it is
    /// right again [default: 60]
    #[arg(long, env = "IDENTITYD_MAX_CLOCK_JUMP_SECONDS", value_name = "SECONDS")]
    pub max_clock_jump_seconds: Option<u32>,

    /// Seconds that Postgres may be silent; then requests are answered with 503, and connections are opened anew
    /// [default: 12]
    #[arg(long, env = "IDENTITYD_DATABASE_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub database_timeout_seconds: Option<u32>,

    /// If commits wait for a standby: seconds for which reads are answered after the last commit that a standby
    /// confirmed; then they are answered with 503 [default: 5]
    #[arg(long, env = "IDENTITYD_MAX_UNCONFIRMED_SECONDS", value_name = "SECONDS")]
    pub max_unconfirmed_seconds: Option<u32>,
}

/// How Postgres is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresSettings {
    /// How many connections read for clients.
    pub connections: u32,
    /// How many ranges of the log a rebuild at the start folds at the same time.
    pub rebuild_workers: usize,
    /// How far the clock of the database may jump ahead.
    pub max_clock_jump: Duration,
    /// How long Postgres may be silent until requests that wait for it are answered with 503.
    pub timeout: Duration,
    /// How long reads are answered after the last confirmed commit, if commits wait for a standby.
    pub max_unconfirmed: Duration,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            rebuild_workers: DEFAULT_REBUILD_WORKERS as usize,
            max_clock_jump: Duration::from_secs(DEFAULT_MAX_CLOCK_JUMP_SECONDS.into()),
            timeout: Duration::from_secs(DEFAULT_TIMEOUT_SECONDS.into()),
            max_unconfirmed: Duration::from_secs(DEFAULT_MAX_UNCONFIRMED_SECONDS.into()),
        }
    }
}

impl PostgresLayer {
    /// Values of this layer, and for those that it does not set the values of the layer below.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        Self {
            database_connections: self.database_connections.or(below.database_connections),
            rebuild_workers: self.rebuild_workers.or(below.rebuild_workers),
            max_clock_jump_seconds: self.max_clock_jump_seconds.or(below.max_clock_jump_seconds),
            database_timeout_seconds: self.database_timeout_seconds.or(below.database_timeout_seconds),
            max_unconfirmed_seconds: self.max_unconfirmed_seconds.or(below.max_unconfirmed_seconds),
        }
    }
}

impl PostgresSettings {
    /// Fills in the defaults and checks the result; an error names the key.
    pub fn resolve(layer: &PostgresLayer) -> anyhow::Result<Self> {
        let connections = layer.database_connections.unwrap_or(DEFAULT_CONNECTIONS);
        within("database_connections", connections, MAX_CONNECTIONS)?;
        let workers = layer.rebuild_workers.unwrap_or(DEFAULT_REBUILD_WORKERS);
        within("rebuild_workers", workers, MAX_REBUILD_WORKERS)?;
        let jump = layer.max_clock_jump_seconds.unwrap_or(DEFAULT_MAX_CLOCK_JUMP_SECONDS);
        ensure!(jump > 0, "max_clock_jump_seconds must be at least 1");
        let timeout = layer.database_timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        within("database_timeout_seconds", timeout, MAX_SECONDS)?;
        let unconfirmed = layer.max_unconfirmed_seconds.unwrap_or(DEFAULT_MAX_UNCONFIRMED_SECONDS);
        within("max_unconfirmed_seconds", unconfirmed, MAX_SECONDS)?;
        Ok(Self {
            connections,
            rebuild_workers: usize::try_from(workers)?,
            max_clock_jump: Duration::from_secs(jump.into()),
            timeout: Duration::from_secs(timeout.into()),
            max_unconfirmed: Duration::from_secs(unconfirmed.into()),
        })
    }
}

fn within(key: &str, number: u32, limit: u32) -> anyhow::Result<()> {
    ensure!((1..=limit).contains(&number), "{key} is {number}, possible is 1 to {limit}");
    Ok(())
}
