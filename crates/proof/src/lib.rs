//! Proofs that a history is complete and unchanged. Pure: no I/O, no clock, no randomness.
//!
//! Each organization's events are the leaves of an RFC 6962 Merkle tree. Its size and root, signed, are a checkpoint. An
//! auditor with a checkpoint can check that a later history begins with the same events.
//!
//! # Code map
//! - [`leaf`]: the leaf hash of one event, over its canonical form ([`canonical`]); [`envelope`]: what is hashed of an event.
//! - [`tree`]: from leaf hashes to roots and proofs, and the checking of proofs. [`hash`]: a hash and its text.
//! - [`tile`]: the pieces in which a tree is stored, so that a proof reads few rows.
//! - [`checkpoint`]: size and root as a signed note, and the keys that sign and verify it.
//! - [`cosignature`]: a checkpoint signed together with a time, by the signing key or by a witness.
//! - [`introduction`]: the note in which a signing key names its successor.
//! - [`trailer`]: the last line of an export, which says what is before it and which checkpoint covers it.
//! - [`seal`]: shows that an installation with the signing key wrote an event.
//!
//! # What is ours and what is not
//! Notes are written and read by `signed_note`, Cloudflare's port of the code of Go's checksum database. Proofs are computed
//! and checked here, by the recursive definitions of RFC 6962. Tests compare them with `tlog_tiles`, Cloudflare's port that
//! Certificate Transparency logs use. It is no dependency of this crate, since it would add 30 crates to the 50 that an
//! auditor compiles: a parser of URLs and its Unicode tables, which no proof needs. Of the other crates, `ct-merkle` keeps
//! leaves rather than their hashes, and `rs_merkle` is no RFC 6962 tree.
//!
//! # Invariants, as absences
//! - No size or index from outside causes a panic: if it does not fit, it is an error.
//! - No signature is made over anything but a checkpoint, its time, or an introduction.

pub mod canonical;
pub mod checkpoint;
pub mod cosignature;
pub mod envelope;
pub mod hash;
pub mod introduction;
pub mod leaf;
pub mod seal;
pub mod tile;
pub mod trailer;
pub mod tree;

pub use checkpoint::{Checkpoint, NoteError, SigningKey};
pub use cosignature::CosignerKey;
pub use hash::Hash;
pub use seal::SealKey;
pub use tree::{Frontier, ProofError};
