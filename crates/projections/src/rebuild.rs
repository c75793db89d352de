//! The rebuild of a read model while the service runs.
//!
//! The next generation of the table is built in schema `read_model_next` from the log alone. The live table is not
//! touched until the swap, which happens under the head lock together with the last events, so whoever waits for the
//! lock waits for milliseconds and nothing falls between the two. Killed at any moment, a job leaves the live table as
//! it was; the next job starts over.

mod connection;
mod cutover;
mod error;
mod generation;
mod job;
mod rollback;
mod swap;
mod verification;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;

use crate::table::Table;

pub use cutover::cut_over_until;
pub use error::JobError;
pub use rollback::rollback;
pub use verification::{Verified, verify};

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the log, folding it and writing what it comes to.
    Fold,
    /// Adding keys and indexes.
    Index,
    /// Reading the table back and holding it against what was written.
    Compare,
    /// Folding what was appended meanwhile.
    CatchUp,
    /// Making the table the live one.
    CutOver,
    /// The table is built, and the live one stays as it is.
    Ready,
    /// The table is the live one.
    Done,
}

impl Phase {
    /// All of them, in the order in which a job goes through them.
    pub const ALL: [Self; 7] =
        [Self::Fold, Self::Index, Self::Compare, Self::CatchUp, Self::CutOver, Self::Ready, Self::Done];

    /// Its name, as it is shown and noted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fold => "fold",
            Self::Index => "index",
            Self::Compare => "compare",
            Self::CatchUp => "catch up",
            Self::CutOver => "cut over",
            Self::Ready => "ready",
            Self::Done => "done",
        }
    }
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Events it has read.
    pub done: u64,
    /// Events it has to read.
    pub total: u64,
}

/// What a job came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Events that were folded, those that were appended meanwhile included.
    pub events: u64,
    /// Rows that were written at once, before it was caught up with what was appended meanwhile.
    pub rows: u64,
    /// The position the table stands at.
    pub position: i64,
    /// The longest that writers waited while the table went live; `None` when it did not.
    pub pause: Option<Duration>,
}

/// How a job is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many ranges are folded at the same time.
    pub workers: usize,
    /// Whether the table goes live when it is ready.
    pub cut_over: bool,
}

/// Rebuilds one read model. Tells on `progress` how far it has come.
pub async fn rebuild(
    options: &PgConnectOptions,
    table: Arc<dyn Table>,
    settings: Settings,
    progress: &watch::Sender<Progress>,
) -> Result<Report, JobError> {
    rebuild_until(options, table, settings, progress, std::future::pending()).await
}

/// The same, given up at once when `stop` comes to its end: then the live table is as it was, and the error says so.
/// What has begun to be committed is not given up, so there is never a doubt about which table is the live one.
pub async fn rebuild_until(
    options: &PgConnectOptions,
    table: Arc<dyn Table>,
    settings: Settings,
    progress: &watch::Sender<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, JobError> {
    let stop = std::pin::pin!(stop);
    job::run(options, table, settings, progress, stop).await
}
