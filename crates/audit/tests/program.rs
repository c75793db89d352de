//! What the program of auditors is made of. That it says what `identityd audit` says is tested with `identityd`.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test fails the test")]

use std::process::Command;

use identity_proof::SigningKey;

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

/// The error for a file that is not an export.
fn verify(key: &str) -> String {
    let verification = Command::new(env!("CARGO_BIN_EXE_identity-audit"))
        .args(["verify", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--key", key])
        .output()
        .unwrap();
    assert_eq!(verification.status.code(), Some(1));
    String::from_utf8(verification.stderr).unwrap()
}
