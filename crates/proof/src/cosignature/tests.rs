//! Cosignatures: the time of a checkpoint is the one that was signed, and other readers of the note do not mind it.

use signed_note::{Note, StandardVerifier, VerifierList};

use super::{Cosignature, CosignerKey};
use crate::checkpoint::{Checkpoint, NoteError, SigningKey};
use crate::introduction::{successor, successors};
use crate::tree::Frontier;

const TIME: u64 = 1_767_322_989;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed(&[byte; 32])
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: "identityd/org_a".to_owned(), size: 0, root: Frontier::default().root() }
}

fn verifier_key(byte: u8) -> String {
    key(byte).verifier_key("identityd/org_a")
}

fn time_in(note: &str, byte: u8) -> Result<Option<u64>, NoteError> {
    let found = CosignerKey::of_signer(&verifier_key(byte)).unwrap().find(note)?;
    Ok(found.map(|Cosignature { time, .. }| time))
}

#[test]
fn a_checkpoint_says_when_it_was_signed() {
    let note = key(5).sign_at(&checkpoint(), TIME).unwrap();
    assert_eq!(Checkpoint::open(&note, &verifier_key(5)).unwrap(), checkpoint());
    assert_eq!(time_in(&note, 5).unwrap(), Some(TIME));
    assert_eq!(time_in(&note, 6).unwrap(), None, "another key says nothing");
    assert_eq!(time_in(&key(5).sign(&checkpoint()).unwrap(), 5).unwrap(), None, "older versions say nothing");
    assert!(note.starts_with(&key(5).sign(&checkpoint()).unwrap()), "the line is added behind the others");
    assert_eq!(key(5).add_time(&note, TIME + 1).unwrap(), note);
}

/// A verifier that knows nothing of times: the Rust port of Go's reader of notes, with the verifier key alone.
#[test]
fn a_reader_who_knows_no_times_reads_the_note_as_before() {
    let note = key(5).sign_at(&checkpoint(), TIME).unwrap();
    let note = Note::from_bytes(note.as_bytes()).unwrap();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&verifier_key(5)).unwrap())]);
    let (verified, unknown) = note.verify(&known).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 1));
}

#[test]
fn a_changed_time_is_noticed() {
    let note = key(5).sign_at(&checkpoint(), TIME).unwrap();
    let cosignature = CosignerKey::of_signer(&verifier_key(5)).unwrap().find(&note).unwrap().unwrap();
    let later = key(5).sign_at(&checkpoint(), TIME + 1).unwrap();
    let later = CosignerKey::of_signer(&verifier_key(5)).unwrap().find(&later).unwrap().unwrap();
    // The time of one line with the signature of the other one: key id and time are the first 12 bytes, 16 characters.
    let place = "— identityd ".len() + 16;
    let mixed = [&later.line[..place], &cosignature.line[place..]].concat();
    let forged = note.replace(&cosignature.line, &mixed);
    assert!(
        matches!(time_in(&forged, 5), Err(NoteError::Cosignature(name)) if name == "identityd"),
        "{forged}"
    );
}

#[test]
fn a_time_of_64_bits_is_none() {
    let note = key(5).sign_at(&checkpoint(), u64::MAX).unwrap();
    assert!(matches!(time_in(&note, 5), Err(NoteError::Cosignature(_))));
}

#[test]
fn the_line_of_a_time_is_no_signature_of_a_checkpoint_or_an_introduction() {
    let note = key(5).sign_at(&checkpoint(), TIME).unwrap();
    let (text, signatures) = note.split_once("\n\n").unwrap();
    let time = signatures.lines().last().unwrap();
    assert!(Checkpoint::open(&format!("{text}\n\n{time}\n"), &verifier_key(5)).is_err());
    assert!(successor(&note, &verifier_key(5)).is_err());
    assert_eq!(successors(&verifier_key(5), [note.as_str()]).len(), 1);
    // What was signed as the text of a cosignature is no checkpoint either.
    let cosigned = format!("cosignature/v1\ntime {TIME}\n{text}\n");
    assert!(Checkpoint::parse(cosigned.as_bytes()).is_none());
}

#[test]
fn the_key_of_a_cosigner_has_one_spelling() {
    let cosigner = CosignerKey::of_signer(&verifier_key(5)).unwrap();
    let text = cosigner.to_string();
    assert_eq!(CosignerKey::parse(&text).unwrap(), cosigner);
    assert_eq!(CosignerKey::parse(&format!("{text}\n")).unwrap(), cosigner);
    let other_id = text.replacen(&text[10..18], "00000000", 1);
    let upper = text.replacen(&text[10..18], &text[10..18].to_uppercase(), 1);
    let spaced = text.replacen("identityd", "identity d", 1);
    for nonsense in ["", "x", "x+00000000+AAAA", &verifier_key(5), &other_id, &upper, &spaced] {
        assert!(matches!(CosignerKey::parse(nonsense), Err(NoteError::VerifierKey)), "{nonsense}");
    }
    assert!(CosignerKey::of_signer(&text).is_err());
}
