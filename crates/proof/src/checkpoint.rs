//! Checkpoints: size and root of a tree as a signed note (C2SP tlog-checkpoint and C2SP signed-note, with Ed25519).
//!
//! The first line is the origin, which names the history: `identityd/<organization>`, and from the second epoch on
//! `identityd/<organization>/<epoch>`. The name of a verifier key is the origin, too, so it opens one history only.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::Signer as _;
use hmac::digest::Key;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use signed_note::{Note, StandardVerifier, VerifierList};

use crate::hash::Hash;

/// The code of Ed25519 in C2SP signed-note.
pub(crate) const ED25519: u8 = 0x01;

/// The state of a history, which is signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The name of the history.
    pub origin: String,
    /// The number of events.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Why a note, or a key, is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The text is no signed checkpoint.
    #[error("this is no signed checkpoint")]
    Malformed,
    /// The text is no verifier key.
    #[error("this is no verifier key (they look like name+1234abcd+base64)")]
    VerifierKey,
    /// The text is no signing key.
    #[error("this is no signing key (32 bytes in base64)")]
    SigningKey,
    /// The signature is wrong, or was made with another key.
    #[error("the checkpoint is not signed by this key")]
    Signature,
    /// A cosignature is wrong.
    #[error("the cosignature of {0} is wrong")]
    Cosignature(String),
    /// The checkpoint is of another history than the verifier key.
    #[error("the checkpoint is of {0}, the key of another history")]
    Origin(String),
}

/// The name of an organization's history in this epoch. Epochs count from 1.
pub fn origin(organization_id: &str, epoch: u64) -> String {
    if epoch <= 1 {
        format!("identityd/{organization_id}")
    } else {
        format!("identityd/{organization_id}/{epoch}")
    }
}

/// Organization and epoch of an origin; `None` if this is no origin.
pub fn parse_origin(name: &str) -> Option<(&str, u64)> {
    let rest = name.strip_prefix("identityd/")?;
    match rest.rsplit_once('/') {
        None => Some((rest, 1)),
        Some((organization_id, epoch)) => Some((organization_id, epoch.parse().ok()?)),
    }
}

/// Fails if a text is no verifier key.
pub fn check_verifier_key(text: &str) -> Result<(), NoteError> {
    StandardVerifier::new(text.trim()).map(drop).map_err(|_| NoteError::VerifierKey)
}

/// The same verifier key under the name of another history, such as an earlier epoch.
pub fn rename_key(verifier_key: &str, origin: &str) -> Result<String, NoteError> {
    // A name has no plus, but base64 may have one. Everything after the second plus is the key.
    let encoded = verifier_key.trim().splitn(3, '+').nth(2).ok_or(NoteError::VerifierKey)?;
    let key = BASE64_STANDARD.decode(encoded).map_err(|_| NoteError::VerifierKey)?;
    Ok(format!("{origin}+{:08x}+{encoded}", signed_note::key_id(origin, &key)))
}

impl Checkpoint {
    /// Reads a note without checking its signature.
    pub fn read(note: &str) -> Result<Self, NoteError> {
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| NoteError::Malformed)?;
        Self::parse(note.text()).ok_or(NoteError::Malformed)
    }

    /// Reads a note and checks its signature. The verifier key must have the name of the history.
    ///
    /// A note may have signatures of other keys as well: when the signing key is replaced, the old and the new one sign.
    pub fn open(note: &str, verifier_key: &str) -> Result<Self, NoteError> {
        let checkpoint = Self::read(note)?;
        let name = verifier_key.trim().split_once('+').map(|(name, _)| name);
        if name.is_some_and(|name| name != checkpoint.origin) {
            return Err(NoteError::Origin(checkpoint.origin));
        }
        open_note(note, verifier_key)?;
        Ok(checkpoint)
    }

    /// Reads the text of a C2SP tlog-checkpoint: origin, size, root, each on a line of its own. Further lines are extensions,
    /// of which this service knows none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let checkpoint =
            Self { origin: origin.to_owned(), size: size.parse().ok()?, root: Hash::parse_hash(root).ok()? };
        // A number has one spelling: no sign, and no zeros before it.
        let is_well_formed =
            checkpoint.size.to_string() == size && !origin.is_empty() && lines.all(|line| !line.is_empty());
        is_well_formed.then_some(checkpoint)
    }
}

/// The text of a note, if the owner of this verifier key signed it under the name of the key.
pub(crate) fn open_note(note: &str, verifier_key: &str) -> Result<Vec<u8>, NoteError> {
    let note = Note::from_bytes(note.as_bytes()).map_err(|_| NoteError::Malformed)?;
    let verifier = StandardVerifier::new(verifier_key.trim()).map_err(|_| NoteError::VerifierKey)?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).map_err(|_| NoteError::Signature)?;
    Ok(note.text().to_vec())
}

/// The key that signs all checkpoints of an installation.
#[derive(Clone)]
pub struct SigningKey(pub(crate) ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key from 32 secret random bytes, the private key of RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads a key from base64, as it is stored in files and settings.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| NoteError::SigningKey)?;
        let seed = bytes.try_into().map_err(|_| NoteError::SigningKey)?;
        Ok(Self::from_seed(&seed))
    }

    /// The text that [`SigningKey::parse`] reads. It is the secret itself.
    pub fn expose(&self) -> String {
        BASE64_STANDARD.encode(self.0.to_bytes())
    }

    /// A message authentication code with a key that is derived from this one for one purpose. Only an installation with
    /// this signing key can compute it, and signatures reveal nothing about its key.
    pub fn authenticator(&self, purpose: &str) -> Hmac<Sha256> {
        let mut derivation = keyed(&self.0.to_bytes());
        derivation.update(purpose.as_bytes());
        keyed(&derivation.finalize().into_bytes())
    }

    /// The verifier key for one history, in the text form of C2SP signed-note.
    pub fn verifier_key(&self, origin: &str) -> String {
        signed_note::new_ed25519_verifier_key(origin, &self.0.verifying_key())
    }

    /// Signs a checkpoint, without a time. Signing the same checkpoint twice gives the same note.
    pub fn sign(&self, checkpoint: &Checkpoint) -> Result<String, NoteError> {
        let Checkpoint { origin, size, root } = checkpoint;
        let text = format!("{origin}\n{size}\n{root}\n");
        let mut note = Note::new(text.as_bytes(), &[]).map_err(|_| NoteError::Malformed)?;
        self.add_signature(origin, &mut note)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Malformed)
    }

    /// The same checkpoint with our signature beside those that the note has. The note itself if ours is there already.
    pub fn cosign(&self, note: &str) -> Result<String, NoteError> {
        let checkpoint = Checkpoint::read(note)?;
        if Checkpoint::open(note, &self.verifier_key(&checkpoint.origin)).is_ok() {
            return Ok(note.to_owned());
        }
        let mut note = Note::from_bytes(note.as_bytes()).map_err(|_| NoteError::Malformed)?;
        self.add_signature(&checkpoint.origin, &mut note)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Malformed)
    }

    /// Adds our signature under this name.
    pub(crate) fn add_signature(&self, name: &str, note: &mut Note) -> Result<(), NoteError> {
        note.add_sigs(&[&NamedKey { name, key: &self.0 }]).map_err(|_| NoteError::Malformed)
    }
}

/// HMAC-SHA-256 with a key of 32 bytes, which is filled up to a block with zeros (RFC 2104). Unlike `new_from_slice` this
/// cannot fail.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Key::<Hmac<Sha256>>::default();
    block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    <Hmac<Sha256> as Mac>::new(&block)
}

/// The key under the name of one history.
struct NamedKey<'a> {
    name: &'a str,
    key: &'a ed25519_dalek::SigningKey,
}

impl signed_note::Signer for NamedKey<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn key_id(&self) -> u32 {
        let public = self.key.verifying_key().to_bytes();
        signed_note::key_id(self.name, &[&[ED25519], public.as_slice()].concat())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.key.try_sign(message)?.to_vec())
    }
}

#[cfg(test)]
mod tests;
