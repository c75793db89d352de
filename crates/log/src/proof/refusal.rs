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
    /// The event as it is stored has no seal of this installation: somebody without the signing key wrote it.
    #[error(
        "event {sequence} was not written by this installation: its seal or its leaf hash is missing, of another key, or of \
         another event"
    )]
    Unsealed {
        /// Its organization sequence.
        sequence: u64,
    },
    /// The row of an event has a value that has no canonical form, so that no auditor could read it either.
    #[error("event {sequence} cannot be hashed: it has a number or a moment that no reader can read")]
    Unhashable {
        /// Its organization sequence.
        sequence: u64,
    },
    /// An event has an organization sequence that the history does not reach. Only somebody without the signing key writes it.
    #[error("event {sequence} is outside of the history, which has {head} events")]
    Outside {
        /// Its organization sequence.
        sequence: i64,
        /// How many events there are, as `organization_heads` says.
        head: u64,
    },
    /// The note of the last checkpoint in the database is malformed, or of another checkpoint.
    #[error("the last checkpoint in the database cannot be read: its note was changed")]
    UnreadableNote,
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

impl Refusal {
    /// What an operator does about it.
    pub fn remedy(&self, organization_id: &str) -> String {
        match self {
            Self::Unhashable { .. } => format!(
                "Find out who wrote this event. No epoch can sign it: change the row as the owner of the tables, then run `identityd \
                 audit new-epoch --org {organization_id}`"
            ),
            Self::Outside { .. } => format!(
                "Look at the row of {organization_id} in organization_heads first: somebody may have lowered its number. Delete the event \
                 only if its position is beyond that in log_head, or below 1. Otherwise change the row that is wrong, as the owner of \
                 the tables, then run `identityd audit new-epoch --org {organization_id}`"
            ),
            _ => format!(
                "Find out which history is the right one, then run `identityd audit new-epoch --org {organization_id}`"
            ),
        }
    }
}
