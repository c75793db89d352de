//! How an append or a read can fail.

use std::sync::Arc;
use std::time::Duration;

use identity_domain::Rejection;

use crate::codec::DecodeError;
use crate::copy::CopyError;
use crate::idempotency::NotComposed;
use crate::read_model::{ReadModelError, ReadModelFailure};

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The aggregate refuses the command.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The caller expected another version of the aggregate.
    #[error("the aggregate is at version {actual}")]
    VersionConflict {
        /// The version it has.
        actual: i64,
    },
    /// The key of whoever asks was revoked, or its identity deleted, before the command was decided.
    #[error("the API key was revoked before the command was decided")]
    KeyRevoked,
    /// A write under this key was committed before; its answer was kept.
    #[error("the idempotency key was used before")]
    Repeated,
    /// Postgres cannot be reached. Nothing was written, and nothing will be. Safe to try again later.
    #[error("the event log is unavailable")]
    Unavailable(#[source] Arc<BatchError>),
    /// The events were on the way to Postgres, and Postgres did not confirm them: they may have been written.
    #[error("the event log did not confirm the write")]
    OutcomeUnknown(#[source] Arc<BatchError>),
    /// The log refuses this command for a reason nobody foresaw.
    #[error("the event log failed")]
    Failed(#[source] Arc<BatchError>),
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The database refused a statement, or went away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// A read model could not follow.
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
    /// History that was needed for a decision cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An event cannot be written as JSON.
    #[error("event does not encode")]
    Encode(#[from] serde_json::Error),
    /// An answer that should have been kept could not be composed.
    #[error(transparent)]
    Compose(#[from] NotComposed),
    /// The head of the log is not where its lock has found it.
    #[error("the log has moved under its lock")]
    Moved,
    /// The committer has stopped.
    #[error("the committer has stopped")]
    Stopped,
    /// Postgres did not answer in time, and the connection was given up.
    #[error("Postgres did not answer within {0:?}")]
    Timeout(Duration),
    /// The log has outgrown what the moment can be computed with; not reachable with a sane clock.
    #[error("the clock of the database is out of range")]
    Clock,
}

impl BatchError {
    /// Whether the database was away, rather than unwilling.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Database(error)
            | Self::ReadModel(ReadModelError { source: ReadModelFailure::Database(error), .. })
            | Self::Read(ReadError::Database(error)) => is_outage(error),
            Self::Compose(NotComposed { is_outage, .. }) => *is_outage,
            Self::Stopped | Self::Timeout(_) => true,
            Self::ReadModel(_) | Self::Read(_) | Self::Encode(_) | Self::Moved | Self::Clock => false,
        }
    }
}

/// Whether an error says that Postgres is away, is starting or stopping, only reads for the time being, broke a deadlock
/// at our expense, or ran into one of our time limits: whatever it is, it passes.
/// `SQLSTATE` classes: 08 connection, 53 resources, 55P03 lock timeout, 57 operator intervention.
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08")
                || code.starts_with("53")
                || code.starts_with("57")
                || matches!(&*code, "25006" | "25P03" | "40P01" | "55P03")
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database refused, or went away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// A copy of many rows is not what Postgres sends.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// An event is not one that this software knows.
    #[error("event at position {position} cannot be read")]
    Undecodable {
        /// Where it stands.
        position: i64,
        /// Why.
        source: DecodeError,
    },
    /// Positions are dense, and this one is not there.
    #[error("the event at position {position} is missing")]
    Missing {
        /// Where it should stand.
        position: i64,
    },
    /// An event belongs to a type of aggregate that this software does not know.
    #[error("the event at position {position} is of an unknown aggregate type")]
    UnknownAggregate {
        /// Where it stands.
        position: i64,
    },
    /// The sequence of an aggregate is dense, and an event of it is not there.
    #[error(
        "event {sequence} of aggregate {aggregate_id} is missing: the one at position {position} does not follow"
    )]
    Torn {
        /// Whose.
        aggregate_id: String,
        /// Which one is missing.
        sequence: i64,
        /// Where the one stands that was found instead.
        position: i64,
    },
}
