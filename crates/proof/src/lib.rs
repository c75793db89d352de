//! What proves a history complete and untouched. Pure: no I/O, no clock, no randomness.
//!
//! Each organization's events are the leaves of an RFC 6962 Merkle tree; its size and root, signed, are a checkpoint.
//! Whoever holds a checkpoint can tell any later history from one that merely looks like it.
//!
//! # Code map
//! - [`leaf`]: the hash that seals one event, over its canonical form ([`canonical`]).
//! - [`tree`]: from leaf hashes to roots and proofs, and the checking of proofs.
//! - [`tile`]: in what pieces a tree is kept, so that a proof reads a handful of rows.
//! - [`checkpoint`]: size and root as a signed note, and the keys that sign and verify it.
//! - [`introduction`]: the note in which a signing key names its successor.
//! - [`seal`]: the code that says that an event was written by an installation with the signing key.
//!
//! # What is ours and what is not
//! Proofs are computed and checked by `tlog_tiles`, notes written and read by `signed_note`: Cloudflare's ports of the
//! code behind Go's checksum database, which its Certificate Transparency logs run on. Ours are the accumulation of
//! leaves without storage ([`tree::Frontier`]), which a verifier of long exports needs, and the layout in rows. Of
//! the other crates, `ct-merkle` keeps leaves rather than their hashes, and `rs_merkle` is no RFC 6962 tree.
//!
//! # Invariants, as absences
//! - Nothing here trusts a size: what comes from outside is an error when it does not fit, never a panic.
//! - No signature is made over anything but a checkpoint or an introduction.

pub mod canonical;
pub mod checkpoint;
pub mod introduction;
pub mod leaf;
pub mod seal;
pub mod tile;
pub mod tree;

pub use checkpoint::{Checkpoint, NoteError, SigningKey};
pub use seal::SealKey;
pub use tree::{Frontier, Hash, ProofError};
