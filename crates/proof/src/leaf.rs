//! The leaf hash of an event: RFC 6962, section 2.1, over the RFC 8785 canonical JSON of its envelope.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::canonical::check::{NotCanonical, check};
use crate::hash::Hash;

/// The first hashed byte of a leaf. For an inner node it is 1, so no leaf has the hash of an inner node.
const PREFIX: [u8; 1] = [0x00];

/// The leaf hash of an envelope. The order of its members does not matter.
pub fn of<T: Serialize>(envelope: &T) -> Result<Hash, serde_json::Error> {
    Ok(of_canonical(&[&serde_json_canonicalizer::to_vec(envelope)?]))
}

/// The leaf hash of an envelope in text form. Fails if the text is not canonical: of all texts of one value, only one has a
/// leaf hash.
pub fn of_text(text: &[u8]) -> Result<Hash, NotCanonical> {
    check(text)?;
    Ok(of_canonical(&[text]))
}

/// The leaf hash of an envelope in canonical text form, given in pieces. It does not check the text.
pub fn of_canonical(pieces: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(PREFIX);
    for piece in pieces {
        hasher.update(piece);
    }
    Hash(hasher.finalize().into())
}
