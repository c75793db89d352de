//! Notes and keys: what is signed can be opened with the right key, and nothing else can.

use proptest::prelude::*;
use proptest::sample::select;

use super::{Checkpoint, NoteError, SigningKey, origin, parse_origin, rename_key};
use crate::hash::Hash;
use crate::leaf;
use crate::tree::Frontier;

/// The key of the first test vector of RFC 8032, section 7.1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
    0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

fn key() -> SigningKey {
    SigningKey::from_seed(&SEED)
}

fn empty(origin: &str) -> Checkpoint {
    Checkpoint { origin: origin.to_owned(), size: 0, root: Frontier::default().root() }
}

#[test]
fn a_note_opens_with_the_verifier_key_of_its_history() {
    let checkpoint = empty(&origin("org_a", 1));
    let note = key().sign(&checkpoint).unwrap();
    assert_eq!(Checkpoint::open(&note, &key().verifier_key("identityd/org_a")).unwrap(), checkpoint);
    assert_eq!(Checkpoint::read(&note).unwrap(), checkpoint);
}

#[test]
fn a_note_is_text_in_the_form_of_the_standard() {
    let note = key().sign(&empty("identityd/org_a")).unwrap();
    let lines: Vec<&str> = note.split('\n').collect();
    let root_of_nothing = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    assert_eq!(lines[..4], ["identityd/org_a", "0", root_of_nothing, ""]);
    assert!(lines[4].starts_with("— identityd/org_a "), "{note}");
    assert_eq!(lines[5..], [""]);
}

#[test]
fn a_note_of_another_history_does_not_open() {
    let note = key().sign(&empty("identityd/org_a")).unwrap();
    for other in ["identityd/org_b", "identityd/org_a/2"] {
        let error = Checkpoint::open(&note, &key().verifier_key(other)).unwrap_err();
        assert!(matches!(error, NoteError::Origin(name) if name == "identityd/org_a"), "{other}");
    }
}

#[test]
fn a_note_that_somebody_else_signed_does_not_open() {
    let note = key().sign(&empty("identityd/org_a")).unwrap();
    let stranger = SigningKey::from_seed(&[7; 32]).verifier_key("identityd/org_a");
    assert!(matches!(Checkpoint::open(&note, &stranger), Err(NoteError::Signature)));
}

#[test]
fn a_note_with_any_byte_changed_does_not_open_as_another() {
    let checkpoint = empty("identityd/org_a");
    let note = key().sign(&checkpoint).unwrap();
    let verifier = key().verifier_key("identityd/org_a");
    for place in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[place] ^= 1;
        let opened = String::from_utf8(bytes).map(|text| Checkpoint::open(&text, &verifier));
        assert!(!matches!(opened, Ok(Ok(_))), "byte {place} does not matter");
    }
}

#[test]
fn a_key_survives_being_written_down() {
    let again = SigningKey::parse(&format!("{}\n", key().expose())).unwrap();
    assert_eq!(again.verifier_key("x"), key().verifier_key("x"));
    for nonsense in ["", "AAAA", "not base64", &"A".repeat(48)] {
        assert!(matches!(SigningKey::parse(nonsense), Err(NoteError::SigningKey)), "{nonsense}");
    }
}

#[test]
fn an_origin_tells_organization_and_epoch() {
    assert_eq!(origin("org_a", 1), "identityd/org_a");
    assert_eq!(origin("org_a", 2), "identityd/org_a/2");
    for epoch in [1, 2, 77] {
        assert_eq!(parse_origin(&origin("org_a", epoch)), Some(("org_a", epoch)));
    }
    assert_eq!(parse_origin("elsewhere/org_a"), None);
    assert_eq!(parse_origin("identityd/org_a/x"), None);
}

#[test]
fn nonsense_is_no_checkpoint() {
    for text in ["", "\n\n", "a\nb\nc\n\n— a b\n"] {
        assert!(matches!(Checkpoint::read(text), Err(NoteError::Malformed)), "{text:?}");
    }
}

const ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

/// The same bytes in the other alphabet of base64, and without padding. The last one has bits behind the last byte.
const URL_SAFE_ROOT: &str = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=";
const UNPADDED_ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
const ROOT_WITH_MORE_BITS: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn a_text_is_read_as_tlog_tiles_reads_it(
        lines in prop::collection::vec(select(vec!["", "a", "0", "5", "05", "+5", "5\r", " ", "\u{e9}", ROOT, "AAAA"]), 0..4),
        is_whole: bool,
        size in select(vec!["12", "0", "012", "00", "+12", "-1", "", "12 ", "18446744073709551616"]),
        root in select(vec![ROOT, ROOT, URL_SAFE_ROOT, UNPADDED_ROOT, ROOT_WITH_MORE_BITS]),
        extensions in prop::collection::vec(select(vec!["", "a", ROOT]), 0..3),
    ) {
        let beginning = if is_whole { vec!["identityd/org_a", size, root] } else { lines };
        let lines: Vec<&str> = beginning.into_iter().chain(extensions).collect();
        for text in [lines.join("\n"), lines.join("\n") + "\n"] {
            let ours = Checkpoint::parse(text.as_bytes());
            let theirs = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).ok();
            let theirs = theirs.map(|theirs| Checkpoint {
                origin: theirs.origin().to_owned(), size: theirs.size(), root: Hash(theirs.hash().0),
            });
            prop_assert_eq!(ours, theirs, "{:?}", text);
        }
    }
}

#[test]
fn a_verifier_key_opens_another_epoch_once_it_bears_its_name() {
    // Some of these keys have a plus in their base64, where a parser may cut them at the wrong place.
    for seed in 0..32 {
        let key = SigningKey::from_seed(&[seed; 32]);
        let renamed = rename_key(&key.verifier_key("identityd/org_a/2"), "identityd/org_a").unwrap();
        assert_eq!(renamed, key.verifier_key("identityd/org_a"));
    }
    assert!(matches!(rename_key("nonsense", "x"), Err(NoteError::VerifierKey)));
}

/// The example in docs/proof.md is correct, so a verifier in another language can be tested with it.
#[test]
fn the_documented_example_is_what_it_says() {
    let document = include_str!("../../../../docs/proof.md");
    let example = document.split("## An example\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let stated = |name: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        Hash::parse_hash(line.trim()).unwrap()
    };
    let mut tree = Frontier::default();
    for (number, line) in (1..).zip(lines.iter().filter(|line| line.starts_with('{'))) {
        let leaf = leaf::of_canonical(&[line.as_bytes()]);
        assert_eq!(leaf, stated(&format!("leaf {number} ")));
        assert_eq!(leaf, leaf::of(&serde_json::from_str::<serde_json::Value>(line).unwrap()).unwrap());
        tree.append(leaf);
        if number == 2 {
            assert_eq!(tree.root(), stated("node 1-2 "));
        }
    }
    assert_eq!((tree.size(), tree.root()), (3, stated("root ")));
    let key = SigningKey::from_seed(&[5; 32]);
    let origin = "identityd/org_example";
    let checkpoint = Checkpoint { origin: origin.to_owned(), size: 3, root: tree.root() };
    let note = key.sign_at(&checkpoint, 1_767_323_100).unwrap();
    let [text, signatures] = note.split("\n\n").collect::<Vec<_>>()[..] else { panic!("{note}") };
    let (verifier_key, cosigner_key) = (key.verifier_key(origin), key.cosigner_key().to_string());
    for line in text.lines().chain(signatures.lines()).chain([verifier_key.as_str(), &cosigner_key]) {
        assert!(lines.contains(&line), "the example lacks {line}");
    }
}
