//! Proofs that a history is complete and unchanged. Pure: no I/O, no clock, no randomness.
//!
//! Each organization's events are the leaves of an RFC 6962 Merkle tree. Its size and root, signed, are a checkpoint. An
//! auditor with a checkpoint can check that a later history begins with the same events.
//!
//! # Code map
//! - [`leaf`]: the leaf hash of one event, over its canonical form ([`canonical`]).
//! - [`tree`]: from leaf hashes to roots and proofs, and the checking of proofs.
//! - [`tile`]: the pieces in which a tree is stored, so that a proof reads few rows.
//! - [`checkpoint`]: size and root as a signed note, and the keys that sign and verify it.
//! - [`introduction`]: the note in which a signing key names its successor.
//! - [`seal`]: shows that an installation with the signing key wrote an event.
//!
//! # What is ours and what is not
//! Proofs are computed and checked by `tlog_tiles`, and notes are written and read by `signed_note`. Both are Cloudflare's
//! ports of the code of Go's checksum database, and its Certificate Transparency logs use them. Ours are the growing tree
//! in memory of log n ([`tree::Frontier`]), which a verifier of long exports needs, and the layout in rows. Of the other
//! crates, `ct-merkle` keeps leaves rather than their hashes, and `rs_merkle` is no RFC 6962 tree.
//!
//! # Invariants, as absences
//! - No size or index from outside causes a panic: if it does not fit, it is an error.
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
