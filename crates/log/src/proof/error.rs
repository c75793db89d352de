//! How reading a tree, or signing, can fail.

use identity_proof::{NoteError, ProofError};

use super::memory::MemoryError;
use super::refusal::Refusal;

/// Why a stored tree or checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// The question has no answer, or a tile is missing.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A stored checkpoint is malformed.
    #[error("a stored checkpoint cannot be read")]
    Note(#[from] NoteError),
    /// The bytes of a tile are not hashes.
    #[error("a stored tile is not made of hashes")]
    Tile,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The log does not continue what was signed before.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The tree could not be read or written.
    #[error("cannot grow the tree")]
    Tree(#[source] TreeError),
    /// The memory could not be read or written.
    #[error("the memory of the signer cannot be used")]
    Memory(#[from] MemoryError),
}

impl From<TreeError> for SignError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Note(_) => Self::Refused(Refusal::UnreadableNote),
            error => Self::Tree(error),
        }
    }
}

impl From<sqlx::Error> for SignError {
    fn from(error: sqlx::Error) -> Self {
        Self::Tree(error.into())
    }
}

impl From<NoteError> for SignError {
    fn from(error: NoteError) -> Self {
        Self::Tree(TreeError::Note(error))
    }
}
