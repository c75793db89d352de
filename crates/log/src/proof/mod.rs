//! The proof of the log: the Merkle tree of each organization, and the checkpoints that were signed.
//!
//! - [`signer`]: the task that grows the trees and signs them.
//! - `check`: checks of a log that sign nothing.
//! - [`Refusal`]: why a log is not signed. `signed_before` compares a log with what was signed before.
//! - `unsigned`: the events that are to be signed, and whether they are sealed.
//! - [`rotation`]: the replacement of the signing key; [`introductions`]: what it leaves for auditors; [`key_lock`]: who keeps it
//!   from happening.
//! - `owner`: whether the installation with this key wrote a history.
//! - [`tiles`]: a tree in rows.
//! - [`fn@tie`]: ties the events of an export to a checkpoint, in its trailer.
//! - [`memory`]: the last checkpoint, kept outside the database, because a restored database may lack it.
//!
//! The signer never signs two different histories of one organization and epoch: see [`signer`].

mod check;
mod error;
pub mod introductions;
pub mod key_lock;
pub mod memory;
mod owner;
mod refusal;
pub mod rotation;
mod signed;
mod signed_before;
pub mod signer;
mod stored;
mod tie;
pub mod tiles;
mod trust;
mod unsigned;

pub use error::{SignError, TreeError};
pub use owner::{is_empty, is_of};
pub use refusal::Refusal;
pub use signed::Signed;
pub use stored::{Inclusion, last, leaves, prove_consistency, prove_inclusion};
pub use tie::tie;
