//! How the memory can fail.

use identity_proof::NoteError;

use super::place::Unreachable;

/// Why the memory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The files beside the signing key could not be read or written.
    #[error("the files beside the signing key cannot be used")]
    Files(#[from] std::io::Error),
    /// The place that all hosts share did not answer. Nothing is signed until it does.
    #[error("the memory that all hosts share does not answer")]
    Away(#[source] Unreachable),
    /// Another process has signed since the memory was read.
    #[error("another process has signed meanwhile")]
    Overtaken,
    /// What is stored under a name is no checkpoint.
    #[error("{name} in the memory of the signer is no checkpoint")]
    Note {
        /// The name.
        name: String,
        /// Why it cannot be read.
        #[source]
        error: NoteError,
    },
    /// What is stored as the position from which on every event is sealed is no position.
    #[error("sealed-from in the memory of the signer is no position")]
    Position(#[from] std::num::ParseIntError),
}
