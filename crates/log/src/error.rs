//! How an append or a read can fail.

use std::sync::Arc;
use std::time::Duration;

use identity_domain::Rejection;
use sqlx::error::DatabaseError;

use crate::append::NotComposed;
use crate::event::codec::DecodeError;
use crate::read::copy::CopyError;

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
    /// The key of the actor was revoked or expired, or its identity was deleted, before the command was decided.
    #[error("the API key was revoked or expired before the command was decided")]
    KeyRevoked,
    /// A write with this idempotency key was committed before; its answer was kept.
    #[error("the idempotency key was used before")]
    Repeated,
    /// Postgres cannot be reached. Nothing was written, and nothing will be. Safe to try again later.
    #[error("the event log is unavailable")]
    Unavailable(#[source] Arc<BatchError>),
    /// The events were on the way to Postgres, and Postgres did not confirm them: they may have been written.
    #[error("the event log did not confirm the write")]
    OutcomeUnknown(#[source] Arc<BatchError>),
    /// Postgres refuses a statement of the command when it is tried alone, because of something in the database that is not as the
    /// migrations make it. Nothing was written.
    #[error("the database refuses the write")]
    Altered(#[source] Arc<BatchError>),
    /// The same for another reason. This is a defect of the software or the data.
    #[error("the event log failed")]
    Failed(#[source] Arc<BatchError>),
}

impl AppendError {
    /// Whether the command was decided and refused, rather than not written.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::VersionConflict { .. } | Self::KeyRevoked | Self::Repeated => true,
            Self::Unavailable(_) | Self::OutcomeUnknown(_) | Self::Altered(_) | Self::Failed(_) => false,
        }
    }

    /// The error of a command of a batch of which nothing was written.
    pub(crate) fn nothing_written(error: Arc<BatchError>) -> Self {
        let is_unavailable = error.is_outage() || error.is_taken() || error.is_behind_events();
        let is_altered = error.of_database().is_some_and(is_of_altered_database);
        match (is_unavailable, is_altered) {
            (true, _) => Self::Unavailable(error),
            (false, true) => Self::Altered(error),
            (false, false) => Self::Failed(error),
        }
    }

    /// Whether nothing was written because the clock of the database has jumped ahead.
    pub fn is_clock_jump(&self) -> bool {
        matches!(self, Self::Unavailable(error) if matches!(**error, BatchError::ClockJumped(_)))
    }
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// A read model could not be updated.
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
    /// History that was needed for a decision cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An event cannot be written as JSON.
    #[error("event does not encode")]
    Encode(#[from] serde_json::Error),
    /// The answer to keep for an idempotency key could not be composed.
    #[error(transparent)]
    Compose(#[from] NotComposed),
    /// `log_head` changed while this batch had it locked. Only a defect can cause this.
    #[error("the head of the log changed while it was locked")]
    Moved,
    /// The one row of `log_head` is missing.
    #[error("log_head has no row")]
    NoHead,
    /// An event of an organization has a higher sequence than its row in `organization_heads`.
    #[error("organization_heads is behind the events")]
    HeadsBehind,
    /// The committer has stopped.
    #[error("the committer has stopped")]
    Stopped,
    /// Postgres did not answer within the time limit, and the connection was dropped.
    #[error("Postgres did not answer within {0:?}")]
    Timeout(Duration),
    /// The clock of the database has jumped ahead, or is ahead of the clock of this machine.
    #[error("the clock of the database is {0:?} ahead")]
    ClockJumped(Duration),
    /// The signing key was replaced, and this process has the old one.
    #[error("the signing key was replaced: start this process again with the new one")]
    KeyReplaced,
    /// The time of the next event cannot be represented. Only a wrong clock of the database can cause this.
    #[error("the clock of the database is out of range")]
    Clock,
}

impl BatchError {
    /// The error of Postgres or of the connection, if it is one.
    fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error)
            | Self::ReadModel(ReadModelError {
                source: ReadModelFailure::Database(error) | ReadModelFailure::Read(ReadError::Database(error)),
                ..
            })
            | Self::Read(ReadError::Database(error)) => Some(error),
            _ => None,
        }
    }

    /// Whether a unique index says that a name or a number is somebody's.
    pub(crate) fn is_taken(&self) -> bool {
        let error = self.of_database().and_then(sqlx::Error::as_database_error);
        error.is_some_and(|error| {
            error.is_unique_violation() && matches!(error.table(), Some("identities" | "name_claims"))
        })
    }

    /// Whether a unique index says that an event of the organization has this sequence.
    pub(crate) fn is_behind_events(&self) -> bool {
        let error = self.of_database().and_then(sqlx::Error::as_database_error);
        error.and_then(DatabaseError::constraint) == Some("events_organization_key")
    }

    /// Whether Postgres was unavailable, rather than refusing a statement.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::NoHead
            | Self::HeadsBehind
            | Self::Stopped
            | Self::Timeout(_)
            | Self::ClockJumped(_)
            | Self::KeyReplaced => true,
            _ => self.of_database().is_some_and(is_outage),
        }
    }

    /// Whether the commands of the batch are to be tried one by one, on a new connection.
    pub(crate) fn is_worth_another_attempt(&self) -> bool {
        !self.is_outage() || self.of_database().is_some_and(is_worth_another_attempt)
    }
}

/// `SQLSTATE` classes that mean that Postgres is unavailable, and not that the statement is wrong.
const OUTAGE_CLASSES: [&str; 8] = [
    "08", // the connection is broken
    "28", // the role may not log in
    "3D", // the database is not there
    "40", // our transaction was ended for another one: a deadlock, a serialization failure
    "53", // resources are short: connections, memory, disk space
    "54", // a limit is reached: transaction ids near wraparound
    "57", // it starts or stops, or one of our time limits was reached
    "58", // its machine fails: an input or output error, a missing file
];

/// Single `SQLSTATE`s of other classes that mean the same.
const OUTAGE_STATES: [&str; 9] = [
    "25006", // the server accepts no writes at present
    "25P03", // the session was idle in a transaction for too long
    "0A000", // a column got another type since the plan was made
    "3F000", // a schema is missing
    "42501", // a privilege was taken away
    "42P01", // a table is missing
    "55006", // an object is in use
    "55P03", // a lock was not granted in time
    "72000", // a snapshot is too old
];

/// Whether another attempt can succeed at once, or one command alone may have caused the error: the transaction was ended
/// for another one, a plan is out of date, one command needs a table that is missing, or a limit is reached, which may be
/// the size of an index entry.
fn is_worth_another_attempt(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| {
        ["0A000", "3F000", "42P01"].contains(&&*code) || code.starts_with("40") || code.starts_with("54")
    })
}

/// Whether an error tells of a state of Postgres, so that the same statement can succeed later.
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            OUTAGE_STATES.contains(&&*code) || OUTAGE_CLASSES.iter().any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

/// `SQLSTATE` classes of a statement that the database refuses although it would accept it as the migrations make it. Our own
/// constraints hold whatever a client sends, so they are violated only by rows that somebody has changed.
const ALTERED_CLASSES: [&str; 8] = [
    "09", // a trigger fails
    "23", // a constraint is violated
    "27", // a trigger changes what is being changed
    "38", // a function of a trigger or a constraint fails
    "39", // the same
    "42", // a column, a function or a unique index is missing, or of another type
    "44", // the condition of a view is violated
    "P0", // a function of a trigger or a constraint raises an error
];

/// Single `SQLSTATE`s of other classes that mean the same.
const ALTERED_STATES: [&str; 4] = [
    "22001", // a text is too long: no column of ours has a limit
    "22012", // what an index or a constraint computes divides by zero
    "22P02", // what it computes reads a text as another type
    "55000", // a publication needs the identity of rows
];

/// Whether an error tells that the database is not as the migrations make it. Some states of it count as outages
/// ([`is_outage`]), since another process may be changing the database just now.
pub fn is_of_altered_database(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    !is_outage(error)
        && code.is_some_and(|code| {
            ALTERED_STATES.contains(&&*code) || ALTERED_CLASSES.iter().any(|class| code.starts_with(class))
        })
}

/// A read model could not be updated.
#[derive(Debug, thiserror::Error)]
#[error("read model {read_model} failed")]
pub struct ReadModelError {
    /// The name of the read model.
    pub read_model: &'static str,
    /// The cause.
    pub source: ReadModelFailure,
}

/// Why a read model could not be updated.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelFailure {
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// A stored row does not have the shape that the fold writes.
    #[error("stored document does not decode")]
    Document(#[from] serde_json::Error),
    /// The id of an aggregate is not a UUID.
    #[error("aggregate id {0:?} is not a UUID")]
    NotAnId(String),
    /// Events of the aggregate that come before the batch could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Events of the aggregate that come before the batch are not there. They are after the previous batch is committed.
    #[error("events of aggregate {0} are not committed yet")]
    NotCommittedYet(String),
}

impl ReadError {
    /// A column of the event at this position has a value that the service does not write.
    pub(crate) fn of_column<E>(position: i64, column: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |cause| Self::Undecodable {
            position,
            source: DecodeError::Column { column, source: cause.into() },
        }
    }
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// Postgres did not answer the second reader.
    #[error("postgres-es cannot read the log")]
    SecondReader(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bytes of a binary COPY are malformed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// This software does not know the event.
    #[error("event at position {position} cannot be read")]
    Undecodable {
        /// Its position.
        position: i64,
        /// The cause.
        source: DecodeError,
    },
    /// Positions have no gaps, but this one has no event.
    #[error("the event at position {position} is missing")]
    Missing {
        /// The position without an event.
        position: i64,
    },
    /// This software does not know the aggregate type of an event.
    #[error("the event at position {position} is of an unknown aggregate type")]
    UnknownAggregate {
        /// Its position.
        position: i64,
    },
    /// Sequences of an aggregate have no gaps, but one event is missing.
    #[error(
        "event {sequence} of aggregate {aggregate_id} is missing: the one at position {position} does not follow"
    )]
    Torn {
        /// The aggregate.
        aggregate_id: String,
        /// The sequence that is missing.
        sequence: i64,
        /// The position of the event that was found instead.
        position: i64,
    },
}
