//! Stored states: what the folds have made of an aggregate up to some of its events, so that a reader of a long history begins
//! with the last state before what it asks for, and not with the first event.
//!
//! States are an optimization. A reader that finds none, because the table is missing, is being filled, or has rows of another
//! version, folds from an earlier state or from the first event, with the same result.
//!
//! # Which states are stored
//! The state after an event is stored if the events since the last stored state are
//!
//! - [`EVENTS_BETWEEN_STATES`], or twice, four times, … as many, up to 16,384;
//! - so many that the state has at most 512 bytes for each of them. An event takes more than that in the log, so the states
//!   of an aggregate never take more than its events.
//!
//! So a reader folds fewer events than `EVENTS_BETWEEN_STATES`, or than twice those that pay for a large state. A state that is
//! larger than 8 MiB (16,384 times 512 bytes) is not stored, nor is a later one of the aggregate: a reader then folds all events
//! since the last state that was stored. The rule follows from the events alone: a rebuild stores the same states as live writes.

mod folded;
mod identity_rows;
mod kinds;
mod live;
mod model;
mod projection;
mod stored;

pub use identity_rows::IdentityRows;
pub use kinds::{ApiKeyStates, IdentityStates, VaultSecretStates, VaultStates, WebhookSubscriptionStates};
pub use model::{EVENTS_BETWEEN_STATES, RowsOfAggregate, StateRow, States};
pub use stored::{StoredRows, Upto, last_identity_rows};

#[cfg(test)]
mod tests;
