//! The hash that seals one event: RFC 6962, section 2.1, over the RFC 8785 canonical JSON of its envelope.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::canonical::check::{NotCanonical, check};
use crate::tree::Hash;

/// What sets a leaf apart from an inner node, so that neither can be passed off as the other.
const PREFIX: [u8; 1] = [0x00];

/// The leaf hash of an envelope, whatever the order of its members.
pub fn of<T: Serialize>(envelope: &T) -> Result<Hash, serde_json::Error> {
    Ok(of_canonical(&[&serde_json_canonicalizer::to_vec(envelope)?]))
}

/// The same of text, which must be canonical: two texts of one value do not both have a leaf.
pub fn of_text(text: &[u8]) -> Result<Hash, NotCanonical> {
    check(text)?;
    Ok(of_canonical(&[text]))
}

/// The same of text that is known to be canonical, given in pieces.
pub fn of_canonical(pieces: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(PREFIX);
    for piece in pieces {
        hasher.update(piece);
    }
    Hash(hasher.finalize().into())
}
