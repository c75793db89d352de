//! Why a log is not signed.

/// Why a log is not signed. Only an operator can find out which history is the right one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log has fewer events than were signed.
    #[error("the log has {found} events, but {signed} were signed")]
    Smaller {
        /// How many were signed.
        signed: u64,
        /// How many there are.
        found: u64,
    },
    /// The log does not begin with the events that were signed.
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
    /// An event has no seal of this installation: somebody without the signing key wrote it.
    #[error("event {sequence} was not written by this installation: its seal is missing or of another key")]
    Unsealed {
        /// Its organization sequence.
        sequence: u64,
    },
    /// The log was signed before, and the memory does not have what was signed.
    #[error(
        "the memory of the signer is empty, so it does not know what was signed: if the checkpoints in the database are \
         the last ones, tell it to trust them (identityd audit trust, or the setting trust_checkpoints)"
    )]
    Unremembered,
    /// The signing key has introduced its successor, and signs nothing any more.
    #[error("this signing key was replaced")]
    Replaced,
    /// The last checkpoint was signed with another key.
    #[error("the last checkpoint was signed with another key")]
    OtherKey,
}
