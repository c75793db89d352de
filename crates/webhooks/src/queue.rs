//! How events get from the log into the queue, and how the rows of the queue get to the receivers.
//!
//! ```text
//! log ─▶ fan-out ─▶ webhook_queue ─▶ dispatcher ─▶ receiver
//!          │              ▲              │
//!    webhook_cursor       └── later ─────┴─▶ webhook_deliveries, the log of attempts
//! ```
//!
//! The log is the outbox: a commit writes nothing for webhooks. One process at a time reads the log in order from
//! `webhook_cursor`. In one transaction it writes the rows of the queue and moves the cursor, so after a crash there are both or
//! neither: no event is left out, and none is queued twice. An organization for which there is more than its share of such a step goes
//! on from a place of its own (`webhook_late`), in turns with all others.
//!
//! Every process sends. It claims rows with a lease: after a crash the lease ends, and another process claims the rows. A
//! delivery can therefore be sent twice, with the same event id.
//!
//! So these transactions need not wait for the disk (`synchronous_commit = off`). If Postgres itself crashes, the last of them
//! are lost as a whole and done again: rows of the queue that were written and even sent before the crash are then written and
//! sent once more.

pub(crate) mod audience;
pub mod backlog;
pub(crate) mod claims;
pub(crate) mod erasure;
pub(crate) mod events;
pub(crate) mod fan_out;
mod former;
mod granted;
mod late;
pub(crate) mod payload;
pub(crate) mod records;
pub(crate) mod rows;
mod share;
mod subscribers;

use std::time::Duration;

/// How long a task waits before it tries again what failed.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why nothing could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] identity_log::ReadError),
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// The one row of `webhook_cursor` is missing, so nothing is queued.
    #[error("webhook_cursor has no row: `identityd doctor` says what to do")]
    NoCursor,
    /// A document cannot be read or written as JSON.
    #[error("a payload does not encode")]
    Payload(#[from] serde_json::Error),
}
