//! What a job is told, and what it tells.

use std::time::Duration;

/// The phase of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reads the log, folds it, and writes the rows.
    Fold,
    /// Adds keys and indexes.
    Index,
    /// Reads the table back, and compares it with the rows that were written.
    Compare,
    /// Folds the events that were appended meanwhile.
    CatchUp,
    /// Makes the table the live one.
    CutOver,
    /// The table is built, and the live one stays as it is.
    Ready,
    /// The table is the live one.
    Done,
}

impl Phase {
    /// All phases, in the order of a job.
    pub const ALL: [Self; 7] =
        [Self::Fold, Self::Index, Self::Compare, Self::CatchUp, Self::CutOver, Self::Ready, Self::Done];

    /// Its name in the registry and on the terminal.
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

/// The progress of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The present phase.
    pub phase: Phase,
    /// Events that the job has read.
    pub done: u64,
    /// Events that the job has to read.
    pub total: u64,
}

/// The result of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Events that were folded, including those that were appended during the job.
    pub events: u64,
    /// Rows that were written from the log as it was when the job began.
    pub rows: u64,
    /// The position up to which the table is folded.
    pub position: i64,
    /// The longest time that writers waited for the cut-over; `None` if there was no cut-over.
    pub pause: Option<Duration>,
}

/// The settings of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many ranges are folded at the same time.
    pub workers: usize,
    /// Whether to cut over when the table is ready.
    pub cut_over: bool,
}
