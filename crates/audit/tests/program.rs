//! What the program of auditors is made of. That it says what `identityd audit` says is tested with `identityd`.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use identity_proof::trailer::{Trailer, TrailerLine};
use identity_proof::{Checkpoint, Hash, SigningKey};

/// The program is built from fewer crates than this, with those that only run while it is built.
const MAX_CRATES: usize = 60;

/// Clients of databases, servers, and what runs them.
const UNWANTED: [&str; 6] = ["axum", "hyper", "identity-log", "postgres", "sqlx", "tokio"];

/// The crates from which the program is built, each once.
fn tree() -> Vec<String> {
    let mut list = Command::new(env!("CARGO"));
    list.args(["tree", "--offline", "--locked", "--package", env!("CARGO_PKG_NAME")]);
    list.args(["--edges", "normal,build", "--prefix", "none", "--no-dedupe"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let listed = list.output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let mut lines: Vec<String> =
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

#[test]
fn it_is_built_from_few_crates_and_has_neither_a_database_nor_a_server() {
    let tree = tree();
    assert!(tree.iter().any(|line| line.starts_with("identity-proof ")), "{tree:#?}");
    assert!(tree.len() < MAX_CRATES, "{} crates: {tree:#?}", tree.len());
    let unwanted: Vec<_> =
        tree.iter().filter(|line| UNWANTED.iter().any(|name| line.contains(name))).collect();
    assert!(unwanted.is_empty(), "{unwanted:?}");
}

#[test]
fn it_needs_no_service_to_say_what_is_wrong_with_a_file() {
    let key = SigningKey::from_seed(&[7; 32]).verifier_key("identityd/acme");
    let said = verify(&key);
    assert!(said.contains("line 1: this is not JSON: the file is not an export"), "{said}");
    let said = verify("nobody");
    assert!(said.contains("this is no verifier key"), "{said}");
}

/// A file that others made, with one event of so many small objects. Its checkpoint is of another event.
fn crafted(objects: usize) -> PathBuf {
    let signed = Checkpoint { origin: "identityd/acme".to_owned(), size: 1, root: Hash([0; 32]) };
    let checkpoint = Some(SigningKey::from_seed(&[7; 32]).sign(&signed).unwrap());
    let mut trailer = Trailer { checkpoint, ..Trailer::of_range(0, None) };
    trailer.add(1, 1, 1);
    let payload = format!(r#"{{"b":[{}0],"a":0}}"#, r#"{"":0},"#.repeat(objects));
    let event = format!(
        r#"{{"aggregate_id":"a","aggregate_type":"identity","event_type":"e","event_version":"1","metadata":{{}},"organization_id":"acme","organization_sequence":1,"payload":{payload},"recorded_at":"t","sequence":1}}"#
    );
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("crafted-{objects}"));
    let trailer = serde_json::to_string(&TrailerLine { trailer }).unwrap();
    fs::write(&file, format!("{event}\n{trailer}\n")).unwrap();
    file
}

/// As trees, these payloads would need 300 and 900 MB.
#[test]
fn an_event_of_many_small_objects_takes_little_memory() {
    let key = SigningKey::from_seed(&[7; 32]).verifier_key("identityd/acme");
    for (objects, expected) in [
        (499_000, "the first 1 events are not those that were signed"),
        (1_400_000, "line 1: this line has more than 1000000 values, which no event has"),
    ] {
        let file = crafted(objects);
        let verification = Command::new("sh")
            .args(["-c", r#"ulimit -v 200000; exec "$0" "$@""#, env!("CARGO_BIN_EXE_identity-audit")])
            .args(["verify", file.to_str().unwrap(), "--key", &key])
            .output()
            .unwrap();
        fs::remove_file(file).unwrap();
        let said = String::from_utf8(verification.stderr).unwrap();
        assert!(verification.status.code() == Some(1) && said.contains(expected), "{said}");
    }
}

/// The error for a file that is not an export.
fn verify(key: &str) -> String {
    let verification = Command::new(env!("CARGO_BIN_EXE_identity-audit"))
        .args(["verify", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--key", key])
        .output()
        .unwrap();
    assert_eq!(verification.status.code(), Some(1));
    String::from_utf8(verification.stderr).unwrap()
}
