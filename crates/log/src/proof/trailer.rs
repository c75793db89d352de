//! The last line of an export. It describes the lines before it, and ties them to a checkpoint.

use identity_proof::tree::Question;
use identity_proof::{Frontier, Hash};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::error::TreeError;
use super::introductions;
use super::signed::Signed;
use super::stored::{answer, node};

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

    /// Ties the events to a checkpoint. A filtered file gets no proof. A file without `until` gets no consistency proof,
    /// since it must contain all events up to the checkpoint.
    pub async fn tie(
        &mut self,
        connection: &mut PgConnection,
        organization_id: &str,
        signed: &Signed,
    ) -> Result<(), TreeError> {
        let Signed { epoch, checkpoint, note } = signed;
        self.checkpoint = Some(note.clone());
        self.introductions = introductions::all(&mut *connection).await?;
        let after = self.after.unwrap_or_default();
        if self.filtered || after >= checkpoint.size {
            return Ok(());
        }
        let mut before = vec![];
        for subtree in Frontier::nodes(after)? {
            before.push(node(connection, organization_id, *epoch, subtree).await?);
        }
        self.before = in_base64(&before);
        if let Some(from) = self.until.filter(|until| (after + 1..checkpoint.size).contains(until)) {
            let question = Question::Consistency { from, to: checkpoint.size };
            self.consistency = in_base64(&answer(connection, organization_id, *epoch, question).await?);
        }
        Ok(())
    }
}

fn in_base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}
