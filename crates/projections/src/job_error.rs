//! How a job on a read model can fail. A read that ends too early is always an error.

use identity_log::{ReadError, ReadModelError, ReadModelFailure};

/// A job failed. The live table is as it was, unless the error is [`JobError::Doubt`].
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another job has the lock of this read model.
    #[error("{0} works on this read model: try again when it has ended")]
    Held(String),
    /// The job was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The connection broke during the commit of the swap, so the job does not know whether it was committed.
    #[error("the connection was lost while the swap was committed; the status says which table is live")]
    Doubt(#[source] sqlx::Error),
    /// There is no retired table.
    #[error("there is no retired table of this read model")]
    NothingRetired,
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// History could not be read.
    #[error("the log could not be read")]
    Read(#[from] ReadError),
    /// An event could not be folded, or its row not written.
    #[error("a row could not be written")]
    Row(#[from] ReadModelFailure),
    /// Events that were appended during the job could not be folded.
    #[error(transparent)]
    CatchUp(#[from] ReadModelError),
    /// The job read another number of events than the log has.
    #[error("{read} events were read, the log has {total}")]
    Events {
        /// Events that were read.
        read: u64,
        /// Events that the log has.
        total: u64,
    },
    /// Postgres stored another number of rows than the job sent.
    #[error("{expected} rows were sent, Postgres stored {written}")]
    Rows {
        /// Rows that Postgres counted.
        written: u64,
        /// Rows that were sent.
        expected: u64,
    },
    /// The table does not contain the rows that were written.
    #[error("the table does not have the rows that were written ({found} found, {written} written)")]
    Contents {
        /// Rows that were written.
        written: u64,
        /// Rows that were found.
        found: u64,
    },
    /// There is no table that is ready to go live.
    #[error("there is no table of this read model that is ready to go live")]
    NothingReady,
    /// More than 1,000 events were left when `log_head` was locked. The swap is tried again.
    #[error("the table is too far behind to be swapped")]
    Behind,
    /// Readers had the live or the retired table locked at every attempt. The new table is left ready for a cut-over.
    #[error(
        "the live or the retired table was in use at every attempt to swap them, by a backup perhaps; \
         the new table is ready: make it live with `identityd projections cutover` later"
    )]
    Busy,
    /// A worker panicked or was cancelled.
    #[error("a worker panicked or was cancelled")]
    Worker(#[from] tokio::task::JoinError),
}
