//! The lines of a file: each means the same to every reader, and the trailer is the last one.

use std::fs;

use identity_audit::report::{Fault, Report};
use identity_audit::verify::file;
use identity_proof::trailer::{Trailer, TrailerLine};
use identity_proof::{Checkpoint, Frontier, leaf};
use tempfile::NamedTempFile;

use super::forged::{ORIGIN, checkpoint, event, key, written};

fn verify(text: &str) -> Result<Report, Fault> {
    let written = NamedTempFile::new().unwrap();
    fs::write(&written, text).unwrap();
    file(written.path(), &key().verifier_key(ORIGIN), None, |_| ())
}

/// A whole export of three events.
fn export() -> String {
    let events: Vec<_> = (1..=3).map(event).collect();
    let trailer = Trailer { checkpoint: Some(checkpoint(&events)), ..Trailer::of_range(0, None) };
    fs::read_to_string(written(&events, trailer)).unwrap() + "\n"
}

#[test]
fn lines_may_end_as_on_windows() {
    assert_eq!(verify(&export().replace('\n', "\r\n")).unwrap().proved, 3);
    let changed =
        export().replace('\n', "\r\n").replacen(r#""agent_handle":"a""#, r#""agent_handle":"b""#, 1);
    assert_eq!(verify(&changed).unwrap_err().what, "event 1 is not the one that was signed");
}

#[test]
fn what_stands_behind_the_trailer_is_named() {
    for garbage in ["\n", "{}\n", "garbage", "\0\0\0\0"] {
        let fault = verify(&(export() + garbage)).unwrap_err();
        assert_eq!((fault.line, fault.what.as_str()), (Some(4), "this trailer is not the last line"));
    }
    let twice = export().lines().last().unwrap().to_owned();
    let fault = verify(&(export() + &twice)).unwrap_err();
    assert_eq!(fault.line, Some(4), "{fault}");
    assert!(fault.what.starts_with("this is no event"), "{fault}");
}

#[test]
fn a_trailer_that_says_nonsense_is_named() {
    let fault = verify(&export().replace(r#""count":3"#, r#""count":"three""#)).unwrap_err();
    assert_eq!((fault.line, fault.what.as_str()), (Some(4), "this trailer cannot be read"));
    let fault = verify(&export().replace(r#""count":3"#, r#""count":3,"count":3"#)).unwrap_err();
    assert_eq!(fault.what, "this trailer cannot be read");
    let fault = verify(&export().replace(r#""count":3"#, r#""count":2"#)).unwrap_err();
    assert_eq!((fault.line, fault.what.as_str()), (Some(4), "the trailer says 2 events, the file has 3"));
}

#[test]
fn an_empty_file_was_cut_off() {
    let fault = verify("").unwrap_err();
    assert_eq!(fault.to_string(), "line 1: the file ends here without a trailer: it was cut off");
    let fault = verify(export().trim_end().trim_end_matches(|character| character != '\n')).unwrap_err();
    assert_eq!(fault.to_string(), "line 4: the file ends here without a trailer: it was cut off");
    let fault = verify("\n").unwrap_err();
    assert_eq!(fault.to_string(), "line 1: this is not JSON: the file is not an export");
}

/// A member, and a second one with the same name.
const TWICE: [(&str, &str); 4] = [
    (r#","sequence":2"#, r#","sequence":2"#),
    (r#","sequence":2"#, r#","s\u0065quence":2"#),
    (r#""agent_handle":"a""#, r#","agent_handle":"a""#),
    (r#""actor":"operator""#, r#","act\u006fr":"somebody else""#),
];

fn doubled(text: &str, (member, again): (&str, &str)) -> String {
    let at = text.find(member).unwrap_or_else(|| panic!("{member} in {text}")) + member.len();
    format!("{}{again}{}", &text[..at], &text[at..])
}

/// Some readers take the first of two members with one name, and some the last. So nobody can say what was signed.
#[test]
fn a_member_that_stands_twice_is_named() {
    let export = export();
    let (first, rest) = export.split_once('\n').unwrap();
    for case in TWICE {
        for (sealed, text) in [(true, rest.to_owned()), (false, without_seals(rest))] {
            let fault = verify(&format!("{first}\n{}", doubled(&text, case))).unwrap_err();
            assert_eq!((fault.line, fault.sequence), (Some(2), Some(2)), "{case:?} {sealed}");
            assert!(fault.what.contains("duplicate field"), "{case:?} {sealed}: {fault}");
        }
    }
}

fn without_seals(text: &str) -> String {
    let unsealed = |line: &str| match line.split_once(r#","leaf_hash":"#) {
        Some((envelope, _)) => envelope.to_owned() + "}",
        None => line.to_owned(),
    };
    text.lines().map(unsealed).collect::<Vec<_>>().join("\n")
}

/// The owner of the key can sign an ambiguous line. It is refused all the same, since readers disagree about it.
#[test]
fn a_member_that_stands_twice_is_named_even_if_it_was_signed_so() {
    for case in TWICE {
        let envelope = doubled(&String::from_utf8(canonical(2)).unwrap(), case);
        let leaves =
            [event(1).leaf().unwrap(), leaf::of_canonical(&[envelope.as_bytes()]), event(3).leaf().unwrap()];
        let mut tree = Frontier::default();
        for leaf in leaves {
            tree.append(leaf);
        }
        let signed = Checkpoint { origin: ORIGIN.to_owned(), size: 3, root: tree.root() };
        let trailer =
            Trailer { checkpoint: Some(key().sign(&signed).unwrap()), ..Trailer::of_range(0, None) };
        let trailer = Trailer { count: 3, first: Some(1), last: Some(3), ..trailer };
        let trailer = serde_json::to_string(&TrailerLine { trailer }).unwrap();
        let sealed = format!(r#"{},"leaf_hash":"{}"}}"#, envelope.strip_suffix('}').unwrap(), leaves[1]);
        let export = export();
        let lines: Vec<&str> = export.lines().collect();
        let fault = verify(&[lines[0], &sealed, lines[2], &trailer].join("\n")).unwrap_err();
        assert_eq!(fault.line, Some(2), "{fault}");
        assert!(fault.what.contains("duplicate field"), "{fault}");
    }
}

fn canonical(sequence: i64) -> Vec<u8> {
    let line = identity_audit::line::write(&event(sequence), None).unwrap();
    line.strip_suffix(b"\n").unwrap().to_vec()
}

#[test]
fn a_line_has_the_members_of_an_envelope_and_no_others() {
    let more = export().replacen(r#""aggregate_id""#, r#""comment":"x","aggregate_id""#, 1);
    assert!(verify(&more).unwrap_err().what.contains("unknown field `comment`"));
    let seal = export().replacen(r#""leaf_hash":""#, r#""leaf_hash":"?"#, 1);
    assert_eq!(verify(&seal).unwrap_err().to_string(), "line 1: its leaf hash is not one");
}
