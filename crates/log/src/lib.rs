//! The event log on Postgres: append, read, follow.
//!
//! # Code map
//! - [`Log`]: the handle that the rest of the service uses. [`Log::append`] is the only way to write.
//! - `append`: what a write is: the command, who asks for it, and its answer.
//! - `write`: how commands become committed events. The picture at the top of `write/mod.rs` shows the whole pipeline.
//! - [`read_model`](ReadModel): the port through which a batch updates read models.
//! - [`ciphertexts`]: encrypted content of aggregates, which is no event; [`signing_keys`]: those of identities;
//!   [`webhook_tokens`]: those of webhook subscriptions.
//! - `read`: reading the log. [`read`]: pages by position; [`history`]: one organization in order; [`life`]: one aggregate;
//!   [`past`]: an earlier moment; [`scan`] with [`copy`] and [`count`]: all events of one aggregate type; [`follow`]: news by
//!   LISTEN; [`feeds`]: news of single organizations.
//! - `event`: one event. [`recorded`]: its place in the log; [`envelope`]: what is hashed; [`codec`]: its decoding;
//!   [`ids`]: the only place that mints ids.
//! - [`primary`]: whether the database answers, and whether it is still the primary.
//! - [`sole`]: which process may answer from its cache without asking for new events.
//! - [`proof`]: the Merkle tree over the log of each organization, and the task that signs it.
//! - [`session`]: the settings of our sessions on Postgres.
//! - [`second_reader`]: a second reader of history, by cqrs-es and postgres-es, and its comparison with ours.
//!
//! # Invariants, as absences
//! - There is no position without an event, and no event without a position: 1, 2, 3 … in commit order.
//! - Nothing here updates or deletes an event; the database refuses it too.
//! - No caller is told of success before COMMIT has returned.
//! - Nothing here knows a read model except through the trait [`ReadModel`].
//! - Nothing here speaks HTTP. [`idempotency`] stores the status, body and entity tag of an answer for the crate `http`
//!   and does not interpret them.

mod append;
pub mod ciphertexts;
mod error;
mod event;
mod log;
pub mod primary;
pub mod proof;
pub mod read;
mod read_model;
pub mod second_reader;
pub mod session;
mod settings;
pub mod signing_keys;
pub mod sole;
pub mod webhook_tokens;
mod write;

pub use append::{Append, Committed, Fate, Made, ShownAccess};
pub use error::{
    AppendError, BatchError, ReadError, ReadModelError, ReadModelFailure, is_of_altered_database, is_outage,
};
pub use event::metadata::{Actor, Metadata};
pub use event::recorded::Recorded;
pub use event::{codec, envelope, ids, recorded};
pub use log::{Log, connect_options};
pub use read::{copy, count, feeds, follow, history, life, past, scan};
pub use read_model::{Fold, Observer, ReadModel};
pub use settings::{Quotas, Settings, SubscriptionLimits};
pub use write::committer::Committer;
pub use write::connection::MAX_UNCHECKED_IDLE_TIME;
pub use write::decision_state::{DecisionState, StoredState};
pub use write::statement::{AcceptedCommand, Statement, Writes};
pub use write::{idempotency, metrics};
