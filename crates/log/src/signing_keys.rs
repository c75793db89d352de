//! The keys with which webhooks of an identity are signed: made here, sealed for the database, opened for whoever signs.
//!
//! A key is sealed with XChaCha20-Poly1305 under the secrets key of the installation. The id of its identity is the
//! associated data, so a sealed key that is copied to another identity does not open.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use identity_domain::Kind;
use rand::TryRngCore as _;
use rand::rand_core::OsError;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::ciphertexts::{self, CiphertextChange};

/// The name of the ciphertext.
pub const NAME: &str = "signing_key";

/// What the text of a signing key begins with. Published clients strip it before they verify a signature.
const PREFIX: &str = "whsec_";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Why a signing key cannot be made, sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    NoRandomness(#[from] OsError),
    /// It cannot be encrypted.
    #[error("a signing key cannot be sealed")]
    Unsealable,
    /// It was sealed under another secrets key, for another identity, or was changed.
    #[error("the signing key of identity {0} does not open with the secrets key of this installation")]
    Sealed(Uuid),
    /// It cannot be read.
    #[error("a signing key cannot be read")]
    Database(#[from] sqlx::Error),
}

/// The text is no secrets key.
#[derive(Debug, thiserror::Error)]
#[error("this is no secrets key (32 bytes in base64)")]
pub struct NotASecretsKey;

/// The key under which an installation seals signing keys.
#[derive(Clone)]
pub struct SecretsKey(XChaCha20Poly1305);

impl fmt::Debug for SecretsKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretsKey")
    }
}

impl SecretsKey {
    /// The text of a new key, as its file has it.
    pub fn generate() -> Result<SecretString, OsError> {
        Ok(BASE64_STANDARD.encode(random::<KEY_BYTES>()?).into())
    }

    /// Reads the text of a key.
    pub fn parse(text: &str) -> Result<Self, NotASecretsKey> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| NotASecretsKey)?;
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| NotASecretsKey)?;
        Ok(Self(XChaCha20Poly1305::new(&Key::from(bytes))))
    }

    /// Seals the signing key of an identity. The change stores it.
    pub fn seal(&self, identity: Uuid, key: &SigningKey) -> Result<CiphertextChange, SigningKeyError> {
        self.seal_text(identity, NAME, &key.0)
    }

    /// Seals a text for an aggregate. The change stores it under a name.
    pub(crate) fn seal_text(
        &self,
        owner: Uuid,
        name: &str,
        text: &SecretString,
    ) -> Result<CiphertextChange, SigningKeyError> {
        let nonce = random::<NONCE_BYTES>()?;
        let plain = Payload { msg: text.expose_secret().as_bytes(), aad: owner.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), plain).map_err(|_| SigningKeyError::Unsealable)?;
        let ciphertext = [nonce.as_slice(), &sealed].concat();
        Ok(CiphertextChange::Put { name: name.to_owned(), ciphertext })
    }

    /// Opens the sealed signing key of an identity.
    pub fn open(&self, identity: Uuid, ciphertext: &[u8]) -> Result<SigningKey, SigningKeyError> {
        self.open_text(identity, ciphertext).map(SigningKey).ok_or(SigningKeyError::Sealed(identity))
    }

    /// Opens a text that was sealed for an aggregate.
    pub(crate) fn open_text(&self, owner: Uuid, ciphertext: &[u8]) -> Option<SecretString> {
        let (nonce, sealed) = ciphertext.split_first_chunk::<NONCE_BYTES>()?;
        let sealed = Payload { msg: sealed, aad: owner.as_bytes() };
        let plain = self.0.decrypt(&XNonce::from(*nonce), sealed).ok()?;
        Some(String::from_utf8(plain).ok()?.into())
    }
}

/// A signing key in the clear: `whsec_` and 32 random bytes in base64.
#[derive(Debug, Clone)]
pub struct SigningKey(SecretString);

impl SigningKey {
    /// A new key.
    pub fn generate() -> Result<Self, SigningKeyError> {
        let random = BASE64_STANDARD.encode(random::<KEY_BYTES>()?);
        Ok(Self(format!("{PREFIX}{random}").into()))
    }

    /// Its text, as its owner is shown it once.
    pub fn text(&self) -> &str {
        self.0.expose_secret()
    }

    /// The key of the HMAC over a webhook: the text without its prefix, which is not decoded.
    pub fn hmac_key(&self) -> &[u8] {
        self.text().strip_prefix(PREFIX).unwrap_or(self.text()).as_bytes()
    }

    /// What history says of it: SHA-256 of the text, in hexadecimal.
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(self.text()))
    }
}

/// The signing key of an identity, for whoever signs its webhooks. `None` if it has none.
pub async fn find(
    executor: impl PgExecutor<'_>,
    key: &SecretsKey,
    identity: Uuid,
) -> Result<Option<SigningKey>, SigningKeyError> {
    let sealed = ciphertexts::of_aggregate(executor, Kind::Identity, identity, NAME).await?;
    sealed.map(|sealed| key.open(identity, &sealed)).transpose()
}

/// All sealed signing keys, each with its identity. For the doctor.
pub async fn all_sealed(executor: impl PgExecutor<'_>) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    ciphertexts::all_named(executor, Kind::Identity, NAME).await
}

fn random<const N: usize>() -> Result<[u8; N], OsError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{SecretsKey, SigningKey};
    use crate::ciphertexts::CiphertextChange;

    const ALPHA: Uuid = Uuid::from_u128(0xa);
    const BRAVO: Uuid = Uuid::from_u128(0xb);

    fn secrets_key() -> SecretsKey {
        use secrecy::ExposeSecret as _;
        SecretsKey::parse(SecretsKey::generate().unwrap().expose_secret()).unwrap()
    }

    fn sealed(secrets: &SecretsKey, identity: Uuid, key: &SigningKey) -> Vec<u8> {
        match secrets.seal(identity, key).unwrap() {
            CiphertextChange::Put { ciphertext, .. } => ciphertext,
            CiphertextChange::Delete { .. } => panic!("a sealed key is stored"),
        }
    }

    #[test]
    fn a_key_opens_for_its_identity_under_its_secrets_key_alone() {
        let (secrets, key) = (secrets_key(), SigningKey::generate().unwrap());
        let ciphertext = sealed(&secrets, ALPHA, &key);
        assert_eq!(secrets.open(ALPHA, &ciphertext).unwrap().text(), key.text());
        assert!(secrets.open(BRAVO, &ciphertext).is_err());
        assert!(secrets_key().open(ALPHA, &ciphertext).is_err());
        for place in 0..ciphertext.len() {
            let mut changed = ciphertext.clone();
            changed[place] ^= 1;
            assert!(secrets.open(ALPHA, &changed).is_err(), "byte {place}");
            assert!(secrets.open(ALPHA, &ciphertext[..place]).is_err(), "{place} bytes");
        }
    }

    #[test]
    fn the_same_key_is_never_sealed_to_the_same_bytes() {
        let (secrets, key) = (secrets_key(), SigningKey::generate().unwrap());
        assert_ne!(sealed(&secrets, ALPHA, &key), sealed(&secrets, ALPHA, &key));
    }

    #[test]
    fn nothing_but_32_bytes_in_base64_is_a_secrets_key() {
        for text in ["", "riddle", "AAAA", &"A".repeat(44), &format!("{}=", "A".repeat(44))] {
            assert!(SecretsKey::parse(text).is_err(), "{text}");
        }
        assert!(SecretsKey::parse(&format!("{}=\n", "A".repeat(43))).is_ok());
    }
}
