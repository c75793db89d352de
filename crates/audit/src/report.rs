//! The result of a verification: the first fault of an export, or how much of it is proved.

use identity_proof::Checkpoint;

use crate::witness::Witnessed;

/// The first fault of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", .line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct Fault {
    /// The first bad line, counted from 1; none if the fault is not in one line.
    pub line: Option<u64>,
    /// Organization sequence of the first bad event.
    pub sequence: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Fault {
    pub(crate) fn file(what: impl Into<String>) -> Self {
        Self { line: None, sequence: None, what: what.into() }
    }
}

/// The result for an export without a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How many events are in the file.
    pub events: u64,
    /// How many of them are proved to be what was signed. These are the first ones, and none between them is missing.
    pub proved: u64,
    /// The range begins after this organization sequence.
    pub after: u64,
    /// Organization sequence of the first event.
    pub first: Option<u64>,
    /// Organization sequence of the last event.
    pub last: Option<u64>,
    /// The checkpoint that the events were compared with.
    pub checkpoint: Checkpoint,
    /// Its note, with all signatures.
    pub note: String,
    /// When it was signed, if it says so: in seconds since the beginning of 1970.
    pub signed_at: Option<u64>,
    /// What the witnesses have seen that were asked for.
    pub witnessed: Vec<Witnessed>,
    /// The key that signed it, if that is not the given one but its successor.
    pub successor: Option<String>,
    /// Signed events that are not in the file, because it is a part: first and last of each run.
    pub absent: Vec<(u64, u64)>,
    /// Parts without a fault that are not proved, each with the place where it begins.
    pub unproved: Vec<Fault>,
    /// Why the service does not sign this log any more, if it says so.
    pub refused: Option<String>,
    /// How many events were not signed when the file was written, and are not in it.
    pub unsigned: u64,
}
