//! The last line of an export. It describes the lines before it, and ties them to a checkpoint.

use serde::{Deserialize, Serialize};

/// The end of an export. A file without it is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trailer {
    /// The number of events in the file.
    pub count: u64,
    /// Organization sequence of the first event.
    pub first: Option<u64>,
    /// Organization sequence of the last event.
    pub last: Option<u64>,
    /// The file was asked for events after this organization sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The file was asked for events up to this organization sequence; `None` means all that are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The signed note.
    pub checkpoint: Option<String>,
    /// The notes in which signing keys introduced their successors, for readers who know an earlier key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub introductions: Vec<String>,
    /// Why the log is not signed any more, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// How many events of the log were not signed when the file was written, and are not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<u64>,
    /// Whether a filter left out events of the range. Such a file proves nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filtered: bool,
    /// The hashes of the complete subtrees over the events before the first one, the largest subtree first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// The consistency proof from the last event to the checkpoint, if the checkpoint has more events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consistency: Vec<String>,
}

/// The line of the trailer.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrailerLine {
    /// The trailer.
    pub trailer: Trailer,
}

impl Trailer {
    /// The trailer of a range, before any event of it is written.
    pub fn of_range(after: u64, until: Option<u64>) -> Self {
        Self { after: Some(after), until, ..Self::default() }
    }

    /// Adds `events` consecutive events.
    pub fn add(&mut self, events: u64, first: u64, last: u64) {
        self.count += events;
        self.first.get_or_insert(first);
        self.last = Some(last);
    }
}
