//! Why a job did not succeed. There is no way to success from a partial read.

use identity_log::{ReadError, ReadModelError, ReadModelFailure};

/// A job failed; the live table is as it was, unless it is [`JobError::Doubt`].
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another job works on this read model.
    #[error("{0} is at work on this read model")]
    Held(String),
    /// The job was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The connection broke in the one moment in which nobody can know from here what became of the swap.
    #[error("the connection was lost while the swap was committed; the status says which table is live")]
    Doubt(#[source] sqlx::Error),
    /// There is no table to go back to.
    #[error("there is no retired table of this read model")]
    NothingRetired,
    /// The database refused, or went away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// History could not be read.
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    /// An event could not be folded, or its row not written.
    #[error("a row could not be written")]
    Row(#[from] ReadModelFailure),
    /// Events that were appended meanwhile could not be folded.
    #[error(transparent)]
    CatchUp(#[from] ReadModelError),
    /// Fewer or more events were read than there are.
    #[error("{read} events were read where the log has {total}")]
    Events {
        /// Events that were read.
        read: u64,
        /// Events that there are.
        total: u64,
    },
    /// Fewer or more rows were taken than were sent.
    #[error("{written} rows were taken where {expected} were sent")]
    Rows {
        /// Rows that the database counted.
        written: u64,
        /// Rows that were sent.
        expected: u64,
    },
    /// The table does not hold what was written.
    #[error("the table holds {found} rows that are not the {written} that were written")]
    Contents {
        /// Rows that were written.
        written: u64,
        /// Rows that were found.
        found: u64,
    },
    /// There is no table that is ready to go live.
    #[error("there is no table of this read model that is ready to go live")]
    NothingReady,
    /// More was appended before the head lock was taken than writers should wait for. The swap is tried again.
    #[error("the table is too far behind to be swapped")]
    Behind,
    /// Readers of the live table, or of the retired one, did not let go of it.
    #[error("the live or the retired table was in use at every attempt to swap them")]
    Busy,
    /// A worker was ended from outside.
    #[error("a worker did not come to its end")]
    Worker(#[from] tokio::task::JoinError),
}
