//! The last line of an export: what it says of the lines before it, and what ties them to a checkpoint.

use identity_proof::tree::Question;
use identity_proof::{Frontier, Hash};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::{Signed, TreeError, answer, node};

/// What ends an export. A file without it was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trailer {
    /// How many events there are.
    pub count: u64,
    /// Organization sequence of the first.
    pub first: Option<u64>,
    /// Organization sequence of the last.
    pub last: Option<u64>,
    /// Only events after this organization sequence were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only events up to this organization sequence were asked for; all that are signed where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The signed note.
    pub checkpoint: Option<String>,
    /// Why the log is not signed any more, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether events of the range were left out because they were not asked for. Such a file proves nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filtered: bool,
    /// The complete subtrees over the events before the first, the largest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// That the checkpoint's history begins with these events, where it goes on after the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consistency: Vec<String>,
}

/// The trailer in its line.
#[derive(Debug, Serialize, Deserialize)]
pub struct TrailerLine {
    /// The trailer.
    pub trailer: Trailer,
}

impl Trailer {
    /// The trailer of what happened after one sequence, and up to another if that was asked for, before any of it is
    /// written.
    pub fn of_range(after: u64, until: Option<u64>) -> Self {
        Self { after: Some(after), until, ..Self::default() }
    }

    /// Adds an event, or some that follow each other.
    pub fn add(&mut self, events: u64, first: u64, last: u64) {
        self.count += events;
        self.first.get_or_insert(first);
        self.last = Some(last);
    }

    /// Ties the events to a checkpoint. Where the end was not asked for, events that are missing there are a fault and
    /// nothing to be proved; a selection proves nothing anyway.
    pub async fn tie(
        &mut self,
        connection: &mut PgConnection,
        organization_id: &str,
        signed: &Signed,
    ) -> Result<(), TreeError> {
        let Signed { epoch, checkpoint, note } = signed;
        self.checkpoint = Some(note.clone());
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
