//! The event log on Postgres: append, read, follow.
//!
//! # Code map
//! - [`Log`]: what the rest of the service holds; [`Log::append`] is the only way to write.
//! - `committer`, `draft`, `batch`: group commit. One task drains all waiting commands into one draft after the other, each
//!   decided against the state at that very position, has them written when it is their turn, and every caller is answered
//!   after COMMIT.
//! - `head`, `batch_context`: where the log ends, and what commands need to know. `record`, `writes`: what is written of them.
//! - `names`: who holds which name, derived from events, consulted before a name is given away.
//! - [`idempotency`]: answers kept in the transaction of their write.
//! - [`carrier`]: the port to where phone numbers come from, and the pool in Postgres behind it.
//! - [`read`], [`follow`]: pages of history, and being told of new events.
//! - [`scan`], with [`copy`]: all history of one aggregate type, aggregate by aggregate, for rebuilds and verification;
//!   [`count`]: how much that must be.
//! - [`history`], [`past`]: one organization's events in order, as auditors see them, and what was so at a moment.
//! - [`recorded`], [`envelope`], [`codec`]: an event as it stands in the log, the hash over it, and its decoding.
//! - [`proof`]: the Merkle tree over the log of each organization, and the task that signs it.
//! - [`metrics`]: what is counted of commits.
//! - [`stock`]: the seam to cqrs-es and postgres-es.
//!
//! # Invariants, as absences
//! - There is no position without an event, and no event without a position: 1, 2, 3 … in commit order.
//! - Nothing here updates or deletes an event; the database refuses it too.
//! - No caller hears of success before COMMIT has returned.
//! - Nothing here knows about HTTP, or about any read model but by the trait [`ReadModel`].

mod batch;
mod batch_context;
pub mod carrier;
pub mod codec;
mod committer;
pub mod copy;
pub mod count;
mod draft;
pub mod envelope;
mod error;
pub mod follow;
mod head;
pub mod history;
pub mod idempotency;
pub mod ids;
mod log;
mod metadata;
pub mod metrics;
mod names;
pub mod past;
pub mod proof;
pub mod read;
mod read_model;
mod record;
pub mod recorded;
pub mod scan;
pub mod stock;
mod writes;

pub use committer::Committer;
pub use error::{AppendError, BatchError, ReadError, is_outage};
pub use log::{Append, Committed, Fate, Log, Settings, connect_options};
pub use metadata::{Actor, Metadata};
pub use read_model::{Fold, Observer, ReadModel, ReadModelError, ReadModelFailure};
pub use recorded::Recorded;
pub use writes::{Statement, Writes};
