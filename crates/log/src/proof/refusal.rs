//! Why a log is not signed.

use identity_proof::NoteError;

use super::TreeError;

/// Why a log is not signed. Nobody but an operator can tell which history is the right one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Events that were signed are gone.
    #[error("the log has {found} events, but {signed} were signed")]
    Smaller {
        /// How many were signed.
        signed: u64,
        /// How many there are.
        found: u64,
    },
    /// The log does not begin with what was signed.
    #[error("the first {signed} events are not those that were signed")]
    Different {
        /// How many were signed.
        signed: u64,
    },
    /// An event is missing.
    #[error("event {sequence} is missing")]
    Gap {
        /// Its organization sequence.
        sequence: u64,
    },
    /// The last checkpoint was signed with a key that is not ours.
    #[error("the last checkpoint was signed with another key")]
    OtherKey,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The log is not one that may be signed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The tree could not be read or written.
    #[error("cannot grow the tree")]
    Tree(#[from] TreeError),
    /// What was signed last could not be recalled or remembered.
    #[error("cannot keep the last checkpoint beside the signing key")]
    Memory(#[from] std::io::Error),
}

impl From<sqlx::Error> for SignError {
    fn from(error: sqlx::Error) -> Self {
        Self::Tree(error.into())
    }
}

impl From<NoteError> for SignError {
    fn from(error: NoteError) -> Self {
        Self::Tree(error.into())
    }
}
