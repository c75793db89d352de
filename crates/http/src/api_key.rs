//! An API key as clients send it: `ApiKey_<uuid>.<secret>`. Contract, section 0.1.
//!
//! The secret is 256 random bits and their CRC-32 in base 62, which are 49 characters. With the checksum a mistyped or
//! truncated key is refused without a query. It adds no protection; the 256 bits do that.

use std::time::Duration;

use identity_domain::{Moment, api_key};
use identity_projections::api_keys::Row as KeyRow;
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

const PREFIX: &str = "ApiKey_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is more than 2^256, and 62^6 more than 2^32.
const RANDOM_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;

/// The public id of a key, as clients see it.
pub fn public_id(id: Uuid) -> String {
    format!("{PREFIX}{id}")
}

/// The id in a public id.
pub fn parse_public_id(text: &str) -> Option<Uuid> {
    text.strip_prefix(PREFIX)?.parse().ok()
}

/// A new secret.
pub struct Secret(SecretString);

/// The operating system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no randomness")]
pub struct NoRandomness(#[from] rand::rand_core::OsError);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}

impl Secret {
    /// Makes one from the randomness of the operating system.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0_u8; 32];
        OsRng.try_fill_bytes(&mut bytes)?;
        let random = base62(&bytes, RANDOM_DIGITS);
        let checksum = checksum(&random);
        Ok(Self(format!("{random}{checksum}").into()))
    }

    /// The digest that is stored: SHA-256, in hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&digest(self.0.expose_secret()))
    }

    /// The last four characters, for people to recognize it by.
    pub fn last4(&self) -> String {
        let text = self.0.expose_secret();
        text.get(text.len().saturating_sub(4)..).unwrap_or_default().to_owned()
    }

    /// The whole key, to be shown once.
    pub fn key_text(&self, id: Uuid) -> String {
        format!("{}.{}", public_id(id), self.0.expose_secret())
    }
}

/// A key as a client presented it: well formed, but not checked yet.
#[derive(Debug, Clone, Copy)]
pub struct Presented {
    /// The id of the key.
    pub id: Uuid,
    sha256: [u8; 32],
}

impl Presented {
    /// Parses a key; `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let id = parse_public_id(id)?;
        let random = secret.get(..RANDOM_DIGITS)?;
        let rest = secret.get(RANDOM_DIGITS..)?;
        (rest == checksum(random)).then(|| Self { id, sha256: digest(secret) })
    }

    /// How long this key is still valid; `None` if it is not valid. The row must be that of a key that was not revoked.
    pub fn remaining(&self, key: &KeyRow, now: Moment) -> Option<Duration> {
        let secret = if self.matches(&key.secret_sha256) {
            api_key::Secret::Present
        } else if key.previous_sha256.as_deref().is_some_and(|previous| self.matches(previous)) {
            api_key::Secret::Previous
        } else {
            return None;
        };
        key.lifetime().remaining(secret, now)
    }

    /// SHA-256 of the secret, in hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(&self.sha256)
    }

    /// Whether this is the secret with the stored SHA-256. Compares in constant time.
    pub(crate) fn matches(&self, kept: &[u8]) -> bool {
        self.sha256.ct_eq(kept).into()
    }
}

fn hexadecimal(digest: &[u8; 32]) -> String {
    format!("{:x}", sha2::digest::Output::<Sha256>::from(*digest))
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn checksum(random: &str) -> String {
    base62(&crc32fast::hash(random.as_bytes()).to_be_bytes(), CHECKSUM_DIGITS)
}

/// A big-endian number in base 62, padded to `digits`.
fn base62(number: &[u8], digits: usize) -> String {
    let mut number = number.to_vec();
    let mut text: Vec<char> = (0..digits).map(|_| digit(&mut number)).collect();
    text.reverse();
    text.into_iter().collect()
}

/// Divides the number by 62 in place, and returns the remainder as a digit.
fn digit(number: &mut [u8]) -> char {
    let mut remainder = 0_usize;
    for byte in number {
        let dividend = remainder * 256 + usize::from(*byte);
        // Both fit: the remainder is below 62, so the quotient is below 256.
        *byte = u8::try_from(dividend / 62).unwrap_or_default();
        remainder = dividend % 62;
    }
    ALPHABET.get(remainder).copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests;
