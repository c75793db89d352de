//! Cosignatures: a checkpoint signed together with a time (C2SP tlog-cosignature, with Ed25519).
//!
//! The signing key cosigns every checkpoint that it signs, which says when that was. A witness, who is independent of the
//! operator, cosigns a checkpoint that continues all that the witness has seen of the history before.
//!
//! The signing key is one cosigner for all histories of an installation, under the name of the installation. It may be used for
//! both, since no text that it signs as a cosigner is a checkpoint or an introduction: its first line is `cosignature/v1`.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, Verifier as _, VerifyingKey};
use signed_note::{Note, NoteError as Unverified, Signer, Verifier, VerifierList};

use crate::checkpoint::{Checkpoint, ED25519, NoteError, SigningKey};
use crate::introduction::INSTALLATION;

/// The code of cosignatures with Ed25519 in C2SP signed-note.
const COSIGNATURE: u8 = 0x04;

/// The public key of a cosigner, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    key: VerifyingKey,
}

/// A cosignature that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// When the checkpoint was cosigned: seconds since the beginning of 1970.
    pub time: u64,
    /// Its line in the note, with the line feed.
    pub line: String,
}

impl CosignerKey {
    /// Reads the verifier key of a cosigner, in the text form of C2SP signed-note.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key) = public_key(text, COSIGNATURE).ok_or(NoteError::VerifierKey)?;
        let read = Self { name: name.to_owned(), key };
        let is_well_formed = signed_note::is_key_name_valid(name) && read.to_string() == text.trim();
        is_well_formed.then_some(read).ok_or(NoteError::VerifierKey)
    }

    /// The key that verifies when checkpoints were signed, which follows from the key that verifies the checkpoints.
    pub fn of_signer(verifier_key: &str) -> Result<Self, NoteError> {
        let (_, key) = public_key(verifier_key, ED25519).ok_or(NoteError::VerifierKey)?;
        Ok(Self { name: INSTALLATION.to_owned(), key })
    }

    /// The name of the cosigner.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the line of this cosigner begins in every note: after the name, base64 has the key id in its first 32 bits, and 30 of
    /// them in the first five characters.
    pub fn line_start(&self) -> String {
        let key_id = BASE64_STANDARD.encode(self.key_id().to_be_bytes());
        format!("— {} {}", self.name, key_id.get(..5).unwrap_or_default())
    }

    /// The cosignature of this cosigner in a note, if there is one. Fails if it is wrong.
    pub fn find(&self, note: &str) -> Result<Option<Cosignature>, NoteError> {
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| NoteError::Malformed)?;
        let verified = match note.verify(&VerifierList::new(vec![Box::new(self.clone())])) {
            Ok((verified, _)) => verified,
            Err(Unverified::UnverifiedNote) => return Ok(None),
            Err(_) => return Err(NoteError::Cosignature(self.name.clone())),
        };
        let cosignature = verified.first().and_then(|found| {
            let (time, _) = parts(found.signature())?;
            Some(Cosignature { time, line: String::from_utf8(found.to_bytes()).ok()? })
        });
        cosignature.map(Some).ok_or(NoteError::Malformed)
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64_STANDARD.encode(encoded(&self.key));
        write!(formatter, "{}+{:08x}+{key}", self.name, self.key_id())
    }
}

impl Verifier for CosignerKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        signed_note::key_id(&self.name, &encoded(&self.key))
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        parts(signature)
            .is_some_and(|(time, signature)| self.key.verify(&cosigned(time, text), &signature).is_ok())
    }
}

/// A key that cosigns at this moment.
struct Cosigner<'a> {
    name: &'a str,
    key: &'a ed25519_dalek::SigningKey,
    time: u64,
}

impl Signer for Cosigner<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn key_id(&self) -> u32 {
        signed_note::key_id(self.name, &encoded(&self.key.verifying_key()))
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let signature = self.key.try_sign(&cosigned(self.time, text))?.to_bytes();
        Ok([self.time.to_be_bytes().as_slice(), &signature].concat())
    }
}

impl SigningKey {
    /// The key that verifies when this key has signed checkpoints.
    pub fn cosigner_key(&self) -> CosignerKey {
        CosignerKey { name: INSTALLATION.to_owned(), key: self.0.verifying_key() }
    }

    /// Signs a checkpoint, and says when: in seconds since the beginning of 1970.
    pub fn sign_at(&self, checkpoint: &Checkpoint, time: u64) -> Result<String, NoteError> {
        self.add_time(&self.sign(checkpoint)?, time)
    }

    /// The same note with a further line, in which this key says when it has signed the checkpoint. The note itself if it has such
    /// a line already.
    pub fn add_time(&self, note: &str, time: u64) -> Result<String, NoteError> {
        let key = self.cosigner_key();
        if key.find(note)?.is_some() {
            return Ok(note.to_owned());
        }
        let mut note = Note::from_bytes(note.as_bytes()).map_err(|_| NoteError::Malformed)?;
        let cosigner = Cosigner { name: &key.name, key: &self.0, time };
        note.add_sigs(&[&cosigner]).map_err(|_| NoteError::Malformed)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Malformed)
    }
}

/// The text that a cosigner signs.
fn cosigned(time: u64, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

/// The time and the signature of a cosignature. The standard allows no time that does not fit into 63 bits.
fn parts(signature: &[u8]) -> Option<(u64, Signature)> {
    let (time, signature) = signature.split_first_chunk()?;
    let time = i64::from_be_bytes(*time).try_into().ok()?;
    Some((time, Signature::from_bytes(signature.as_array()?)))
}

/// The public key as verifier keys have it.
fn encoded(key: &VerifyingKey) -> Vec<u8> {
    [&[COSIGNATURE], key.as_bytes().as_slice()].concat()
}

/// Name and public key of a verifier key of this type. Its key id is not checked.
fn public_key(verifier_key: &str, kind: u8) -> Option<(&str, VerifyingKey)> {
    let (name, rest) = verifier_key.trim().split_once('+')?;
    let (_, text) = rest.split_once('+')?;
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let key = bytes.strip_prefix(&[kind])?.as_array()?;
    Some((name, VerifyingKey::from_bytes(key).ok()?))
}

#[cfg(test)]
mod tests;
