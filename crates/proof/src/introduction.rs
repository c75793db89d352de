//! The introduction of a new signing key: a C2SP signed note in which the old key names the new one. Both sign it, so
//! nobody can introduce a key without having it.
//!
//! An auditor who trusts a verifier key follows the introductions from it to the key that signs today.

use signed_note::Note;

use crate::checkpoint::{NoteError, SigningKey, open_note, rename_key};

/// The name of a signing key in introductions: it is the key of the installation, not of one history.
pub(crate) const INSTALLATION: &str = "identityd";

/// The line that says what the note is. The second line of a checkpoint is a number, so no introduction can pass as one.
const PURPOSE: &str = "new signing key";

impl SigningKey {
    /// The name that introductions have for this key: its verifier key under the name of the installation.
    pub fn introduced_name(&self) -> String {
        self.verifier_key(INSTALLATION)
    }

    /// A note that introduces `next` as the successor of this key.
    pub fn introduce(&self, next: &Self) -> Result<String, NoteError> {
        let text = format!("{INSTALLATION}\n{PURPOSE}\n{}\n", next.introduced_name());
        let mut note = Note::new(text.as_bytes(), &[]).map_err(|_| NoteError::Malformed)?;
        self.add_signature(INSTALLATION, &mut note)?;
        next.add_signature(INSTALLATION, &mut note)?;
        String::from_utf8(note.to_bytes()).map_err(|_| NoteError::Malformed)
    }
}

/// The successor that a note introduces for the owner of this verifier key, under whatever name that is. The successor is named
/// as [`SigningKey::introduced_name`] names it.
pub fn successor(note: &str, verifier_key: &str) -> Result<String, NoteError> {
    let introducer = rename_key(verifier_key, INSTALLATION)?;
    let text = open_note(note, &introducer)?;
    let text = String::from_utf8(text).map_err(|_| NoteError::Malformed)?;
    let [INSTALLATION, PURPOSE, next] = text.lines().collect::<Vec<_>>()[..] else {
        return Err(NoteError::Malformed);
    };
    open_note(note, next)?;
    // The successor signs as well, and does not introduce itself.
    if next == introducer { Err(NoteError::Signature) } else { Ok(next.to_owned()) }
}

/// The verifier key and all its successors, the latest last. The notes must be in the order in which they were made;
/// each is read once. A note that does not name a successor of the latest key is skipped.
pub fn successors<'a>(verifier_key: &str, notes: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut keys = vec![verifier_key.trim().to_owned()];
    for note in notes {
        let next = keys.last().map(|latest| successor(note, latest));
        keys.extend(next.and_then(Result::ok));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::hash::Hash;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&[byte; 32])
    }

    #[test]
    fn introductions_lead_from_an_old_key_to_the_latest() {
        let notes = [key(1).introduce(&key(2)).unwrap(), key(2).introduce(&key(3)).unwrap()];
        let follow = |from: u8, notes: &[String]| {
            let found =
                successors(&key(from).verifier_key("identityd/org_a"), notes.iter().map(String::as_str));
            found.last().unwrap().clone()
        };
        assert_eq!(follow(1, &notes), key(3).introduced_name());
        assert_eq!(follow(2, &notes), key(3).introduced_name());
        assert_eq!(follow(3, &notes), key(3).verifier_key("identityd/org_a"));
        assert_eq!(follow(4, &notes), key(4).verifier_key("identityd/org_a"));
    }

    #[test]
    fn nobody_introduces_a_key_alone() {
        let introduction = key(1).introduce(&key(2)).unwrap();
        let [text, signatures] = introduction.split("\n\n").collect::<Vec<_>>()[..] else { panic!() };
        let [old, new] = signatures.lines().collect::<Vec<_>>()[..] else { panic!("{signatures}") };
        let old_key = key(1).verifier_key("identityd/org_a");
        assert_eq!(successor(&introduction, &old_key).unwrap(), key(2).introduced_name());
        for forged in [format!("{text}\n\n{old}\n"), format!("{text}\n\n{new}\n")] {
            assert!(successor(&forged, &old_key).is_err(), "{forged}");
        }
        let other = introduction.replace(&key(2).introduced_name(), &key(3).introduced_name());
        assert!(successor(&other, &old_key).is_err());
    }

    #[test]
    fn a_checkpoint_is_no_introduction_and_an_introduction_no_checkpoint() {
        let checkpoint = Checkpoint { origin: INSTALLATION.to_owned(), size: 3, root: Hash([1; 32]) };
        let note = key(1).sign(&checkpoint).unwrap();
        assert!(successor(&note, &key(1).introduced_name()).is_err());
        let introduction = key(1).introduce(&key(2)).unwrap();
        assert!(Checkpoint::open(&introduction, &key(1).introduced_name()).is_err());
    }
}
