//! The seal of an event: a message authentication code over its leaf hash. Only an installation with the signing key can
//! compute it.
//!
//! A checkpoint says what the log contains, a seal who wrote an event. Somebody who can write to the database but lacks
//! the signing key can insert an event, but cannot seal it, and the signer refuses a log with an event without a seal.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::checkpoint::SigningKey;
use crate::hash::Hash;

/// The key that seals events. It is derived from the signing key, so all processes of an installation have the same.
#[derive(Clone)]
pub struct SealKey {
    code: Hmac<Sha256>,
    /// The name that introductions have for the signing key.
    name: String,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SealKey").finish_non_exhaustive()
    }
}

impl SealKey {
    /// The name of the signing key from which this key is derived. It is no secret.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seal of the event with this leaf hash: HMAC-SHA-256 (RFC 2104).
    pub fn seal(&self, leaf: &Hash) -> [u8; 32] {
        self.code.clone().chain_update(leaf.0).finalize().into_bytes().into()
    }

    /// Whether this is the seal of the event with this leaf hash. Compares in constant time.
    pub fn has_sealed(&self, leaf: &Hash, seal: &[u8]) -> bool {
        self.code.clone().chain_update(leaf.0).verify_slice(seal).is_ok()
    }
}

impl SigningKey {
    /// The key that seals events.
    pub fn seal_key(&self) -> SealKey {
        let code = self.authenticator("identityd seal of an event v1");
        SealKey { code, name: self.introduced_name() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_belongs_to_one_event_and_one_key() {
        let key = |byte| SigningKey::from_seed(&[byte; 32]).seal_key();
        let seal = key(1).seal(&Hash([7; 32]));
        assert!(key(1).has_sealed(&Hash([7; 32]), &seal));
        assert!(!key(1).has_sealed(&Hash([8; 32]), &seal));
        assert!(!key(2).has_sealed(&Hash([7; 32]), &seal));
        assert!(!key(1).has_sealed(&Hash([7; 32]), &seal[..31]));
        assert!(!key(1).has_sealed(&Hash([7; 32]), &[]));
    }
}
