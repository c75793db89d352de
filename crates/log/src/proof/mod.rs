//! The proof of the log: the Merkle tree of each organization, and the checkpoints that were signed.
//!
//! - [`signer`]: grows the trees and signs them; `rounds`: the task that does it, and when.
//! - `check`: checks of a log that sign nothing.
//! - [`Refusal`]: why a log is not signed. `signed_before` compares a log with what was signed before.
//! - `unsigned`: the events that are to be signed, and whether this installation wrote them as they are.
//! - [`rotation`]: the replacement of the signing key; [`introductions`]: what it leaves for auditors; [`key_lock`]: who keeps it
//!   from happening.
//! - `owner`: whether the installation with this key wrote a history.
//! - `tiles`: a tree in rows.
//! - [`fn@tie`]: ties the events of an export to a checkpoint, in its trailer.
//! - [`cosignatures`]: those of witnesses.
//! - `time`: when a checkpoint is signed.
//! - [`memory`]: the last checkpoint, kept outside the database, because a restored database may lack it: in files, or in a place
//!   that all hosts share.
//!
//! The signer never signs two different histories of one organization and epoch: see [`signer`].

mod check;
pub mod cosignatures;
mod error;
pub mod introductions;
pub mod key_lock;
pub mod memory;
mod owner;
mod refusal;
pub mod rotation;
mod rounds;
mod signed;
mod signed_before;
pub mod signer;
mod stored;
mod tie;
mod tiles;
mod time;
mod trust;
mod unsigned;

pub use error::{SignError, TreeError};
pub use owner::{is_empty, is_of};
pub use refusal::Refusal;
pub use signed::Signed;
pub use stored::{Inclusion, last, last_epoch, leaves, prove_consistency, prove_inclusion};
pub use tie::tie;
pub use unsigned::{ORGANIZATIONS, outside};
