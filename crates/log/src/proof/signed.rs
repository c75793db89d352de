//! A signed checkpoint.

use identity_proof::{Checkpoint, NoteError, checkpoint};

/// A checkpoint and its signed note.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// The epoch of the history.
    pub epoch: u64,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

impl Signed {
    /// Reads a note, without checking its signature.
    pub fn read(note: String) -> Result<Self, NoteError> {
        let checkpoint = Checkpoint::read(&note)?;
        let (_, epoch) = checkpoint::parse_origin(&checkpoint.origin).ok_or(NoteError::Malformed)?;
        Ok(Self { epoch, checkpoint, note })
    }

    /// Its order among the checkpoints of the organization.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.epoch, self.checkpoint.size)
    }
}
