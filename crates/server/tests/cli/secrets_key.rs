//! The secrets key, under which signing keys of identities are sealed: where it is stored, and the errors if it is
//! missing or wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::harness::{Place, Serving, run_to_end};

const OTHER_KEY: &str = "Y2FuYXJ5LW9mLXRoZS1zaWduaW5nLWtleS0wMTIzNDU=";

fn key_file(place: &Place) -> PathBuf {
    place.data_dir().join("secrets.key")
}

/// Whether the doctor's check of the key succeeded, and its message.
fn examined(place: &Place) -> (bool, String) {
    let checks = place.run(&["doctor", "--json"]).json();
    let checks = checks["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "secrets_key").unwrap();
    (check["passed"] == true, check["finding"].as_str().unwrap().to_owned())
}

/// The error with which the service refuses to start.
fn refusal(place: &Place, arguments: &[&str]) -> String {
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    run_to_end(command.args(arguments).env("RUST_LOG", "off")).error().to_owned()
}

/// Creates an identity with a signing key, and returns its id.
fn with_signing_key(place: &Place, serving: &Serving) -> String {
    let made = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
    let key = made["api_key"].as_str().unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let post = |path: &str, body: Value| {
        let call = client.post(format!("{}/api/v1{path}", serving.base())).header("X-API-Key", key);
        let answer = call.json(&body).send().unwrap();
        assert_eq!(answer.status(), 201, "{path}");
        answer.json::<Value>().unwrap()
    };
    let identity = post("/identities", json!({ "agent_handle": "alpha" }));
    post("/identities/alpha/signing-key", json!({}));
    post("/webhooks/log-endpoints", json!({ "url": "https://harbor.example/log" }));
    identity["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_start_makes_one_and_it_stays() {
    let place = Place::served();
    let made = fs::read_to_string(key_file(&place)).unwrap();
    assert_eq!(made.trim().len(), 44, "32 bytes in base64");
    assert_eq!(fs::metadata(key_file(&place)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(place.serve().stop().success());
    assert_eq!(fs::read_to_string(key_file(&place)).unwrap(), made);
}

#[test]
fn one_that_others_can_read_is_refused() {
    let place = Place::served();
    fs::set_permissions(key_file(&place), Permissions::from_mode(0o640)).unwrap();
    let (passed, finding) = examined(&place);
    assert!(!passed && finding.contains("is open to other users (mode 640, should be 600)"), "{finding}");
    assert!(refusal(&place, &[]).contains("is open to other users"));
}

#[test]
fn what_was_sealed_needs_the_key_it_was_sealed_with() {
    let place = Place::served();
    let serving = place.serve();
    let identity = with_signing_key(&place, &serving);
    assert!(serving.stop().success());
    assert_eq!(
        examined(&place),
        (true, "opens all that is sealed: signing keys of 1 identities and 1 log endpoints, tokens of 0 webhook subscriptions".to_owned())
    );
    let aside = place.data_dir().join("aside");
    fs::rename(key_file(&place), &aside).unwrap();
    let (passed, finding) = examined(&place);
    assert!(!passed && finding.contains("is missing") && finding.contains("restore it"), "{finding}");
    assert_eq!(refusal(&place, &[]), finding, "the service says the same");
    assert!(!key_file(&place).exists(), "no other key is made");
    place.file("data/secrets.key", OTHER_KEY);
    fs::set_permissions(key_file(&place), Permissions::from_mode(0o600)).unwrap();
    let (passed, finding) = examined(&place);
    assert!(!passed && finding.contains("does not open 1 of 1 signing keys"), "{finding}");
    assert!(finding.contains(&identity) && !finding.contains(OTHER_KEY), "{finding}");
    fs::rename(&aside, key_file(&place)).unwrap();
    assert!(examined(&place).0);
}

#[test]
fn a_file_that_is_named_is_used_and_never_made() {
    let place = Place::served();
    fs::remove_file(key_file(&place)).unwrap();
    assert_eq!(examined(&place), (true, "nothing is sealed yet, and there is no key yet".to_owned()));
    let missing = place.data_dir().join("nowhere").display().to_string();
    let refused = refusal(&place, &["--secrets-key-file", &missing]);
    assert_eq!(refused, format!("there is no secrets key in {missing}"));
    let file = place.file("named", "riddle");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let named = file.display().to_string();
    let refused = refusal(&place, &["--secrets-key-file", &named]);
    assert!(refused.contains("this is no secrets key (32 bytes in base64)") && !refused.contains("riddle"));
    fs::write(&file, OTHER_KEY).unwrap();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--secrets-key-file", &named]);
    assert!(Serving::start(command.stderr(Stdio::null())).stop().success());
    assert!(!key_file(&place).exists(), "no other key is made");
}
