//! The commands of auditors: keys, exports, verification without the service, replays.

mod forged;
mod replay;
mod unproved;

use std::fs;
use std::path::Path;

use identity_proof::{CosignerKey, SigningKey};
use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{Finished, Place, Serving, bare, identity_audit, run, through_shell};

/// A running service with an organization that has a history.
struct Scene {
    service: Serving,
    place: Place,
    admin_key: String,
}

impl Scene {
    fn new() -> Self {
        let place = Place::served();
        let service = place.serve();
        let created = place.run(&["org", "create", "acme", "--json"]).succeeded().json();
        let admin_key = created["api_key"].as_str().unwrap().to_owned();
        let scene = Self { service, place, admin_key };
        scene.call(Method::POST, "/identities", &json!({"agent_handle": "harbor-desk"}));
        scene.call(Method::POST, "/identities", &json!({"agent_handle": "night-watch"}));
        scene.call(Method::PATCH, "/identities/harbor-desk", &json!({"description": "tea, not coffee"}));
        scene.call(Method::PATCH, "/identities/harbor-desk", &json!({"agent_handle": "front-desk"}));
        scene
    }

    fn call(&self, method: Method, path: &str, body: &Value) {
        let request = Client::new().request(method, format!("{}/api/v1{path}", self.service.base()));
        request.header("X-API-Key", &self.admin_key).json(body).send().unwrap().error_for_status().unwrap();
    }

    /// The answer to a caller with the key `key`.
    fn read(&self, key: &str, path: &str, accept: &str) -> String {
        let request = Client::new().get(format!("{}/api/v1{path}", self.service.base()));
        let response = request.header("X-API-Key", key).header("Accept", accept).send().unwrap();
        response.error_for_status().unwrap().text().unwrap()
    }

    fn issue_auditor(&self) -> String {
        let issued = ["key", "issue", "--org", "acme", "--label", "audit", "--scope", "auditor", "--json"];
        self.place.run(&issued).succeeded().json()["api_key"].as_str().unwrap().to_owned()
    }

    fn verifier_key(&self) -> String {
        self.read(&self.admin_key, "/log/key", "*/*").trim_end().to_owned()
    }

    /// A file with a checkpoint over all events.
    fn checkpoint(&self) -> String {
        let streamed = self.read(&self.admin_key, "/events", "application/x-ndjson");
        let trailer: Value = serde_json::from_str(streamed.lines().last().unwrap()).unwrap();
        let note = self.place.file("earlier", trailer["trailer"]["checkpoint"].as_str().unwrap());
        note.to_str().unwrap().to_owned()
    }

    /// Exports to a file of this name, and returns what was printed.
    fn export(&self, name: &str, flags: &[&str]) -> String {
        let path = self.place.path(name);
        let path = path.to_str().unwrap();
        let export = ["audit", "export", "--org", "acme", "--output", path];
        assert_eq!(self.place.run(&[&export, flags].concat()).succeeded().stdout, "");
        path.to_owned()
    }
}

/// Verifies without a data directory, a database, or a service; with `identity-audit` as well, which says the same.
fn verify(file: &str, key: &str, flags: &[&str]) -> Finished {
    let arguments = [&["verify", file, "--key", key], flags].concat();
    let finished = run(&mut bare(&[&["audit"], &arguments[..]].concat()));
    let alone = identity_audit(&arguments);
    // The order of members depends on how the programs are built.
    let said = |finished: &Finished| {
        let json = serde_json::from_str::<Value>(&finished.stdout);
        json.unwrap_or_else(|_| Value::from(finished.stdout.as_str()))
    };
    assert_eq!((alone.status, said(&alone)), (finished.status, said(&finished)));
    // Lines before the last one tell of the progress of a command that takes longer than a second.
    assert_eq!(alone.stderr.lines().last(), finished.stderr.lines().last());
    finished
}

/// The line that says when the checkpoint of a file was signed.
fn when(file: &str, key: &str) -> String {
    let report = verify(file, key, &["--allow-unproved", "--json"]).succeeded().json();
    let time = report["signed_at"].as_str().unwrap();
    assert!(OffsetDateTime::parse(time, &Rfc3339).is_ok(), "{time}");
    format!("the checkpoint was signed at {time}\n")
}

fn changed(file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn an_export_is_verified_without_the_service_and_tampering_is_named() {
    let scene = Scene::new();
    let (file, key) = (scene.export("export", &[]), scene.verifier_key());
    assert!(scene.service.stop().success());
    let said = verify(&file, &key, &[]).succeeded().stdout;
    let expected = "6 events verified against the checkpoint of 6 events
events 1 to 6 are what was signed, none between them is missing, and the checkpoint ends with the last
"
    .to_owned()
        + &when(&file, &key);
    assert_eq!(said, expected);
    let report = verify(&file, &key, &["--json"]).succeeded().json();
    assert_eq!((&report["events"], &report["size"], &report["last"]), (&json!(6), &json!(6), &json!(6)));
    assert_eq!((&report["proved"], &report["unproved"]), (&json!(6), &json!([])));

    changed(&file, "tea, not", "tea, nou");
    assert_eq!(verify(&file, &key, &[]).error(), "line 5: event 5 is not the one that was signed");
    changed(&file, "tea, nou", "tea, not");
    verify(&file, &key, &[]).succeeded();
    let lines = fs::read_to_string(&file).unwrap();
    fs::write(&file, &lines[..lines.len() / 2]).unwrap();
    assert!(verify(&file, &key, &[]).error().contains("cut off"));
}

/// The signing key is a cosigner, too, as a witness is.
#[test]
fn a_cosignature_can_be_demanded() {
    let scene = Scene::new();
    let (file, key) = (scene.export("export", &[]), scene.verifier_key());
    let cosigner = CosignerKey::of_signer(&key).unwrap().to_string();
    let said = verify(&file, &key, &["--witness", &cosigner]).succeeded().stdout;
    assert!(said.contains("identityd has cosigned the first 6 events at "), "{said}");
    let report = verify(&file, &key, &["--witness", &cosigner, "--json"]).succeeded().json();
    let expected = json!([{"witness": "identityd", "size": 6, "cosigned_at": report["signed_at"]}]);
    assert_eq!(report["witnessed"], expected);
    let other = SigningKey::from_seed(&[9; 32]).cosigner_key().to_string();
    let refused = verify(&file, &key, &["--witness", &cosigner, "--witness", &other]);
    let expected = "identityd has cosigned neither the checkpoint of this file nor the earlier one";
    assert_eq!(refused.error(), expected);
    let mistaken = verify("missing", &key, &["--witness", &key]);
    assert!(mistaken.error().contains("this is no verifier key"), "{}", mistaken.stderr);
}

#[test]
fn a_part_says_what_is_missing_from_it() {
    let scene = Scene::new();
    let (part, key) = (scene.export("part", &["--after", "2", "--until", "5"]), scene.verifier_key());
    let said = verify(&part, &key, &[]).succeeded().stdout;
    let signed = when(&part, &key);
    let expected = format!(
        "3 events verified against the checkpoint of 6 events
events 3 to 5 are what was signed, none between them is missing
{signed}not in this file: events 1 to 2
not in this file: events 6 to 6
"
    );
    assert_eq!(said, expected);
    let nothing = scene.place.run(&["audit", "export", "--org", "acme", "--after", "6"]);
    assert_eq!(nothing.error(), "there are no signed events in this range: 6 are signed");
}

#[test]
fn an_earlier_checkpoint_is_held_against_a_later_export() {
    let scene = Scene::new();
    let note = scene.checkpoint();
    scene.call(Method::POST, "/identities", &json!({"agent_handle": "third"}));
    let (file, key) = (scene.export("export", &[]), scene.verifier_key());
    verify(&file, &key, &["--previous", &note]).succeeded();
    let foreign = scene.place.file("foreign", "no checkpoint");
    assert!(
        verify(&file, &key, &["--previous", foreign.to_str().unwrap()])
            .error()
            .contains("earlier checkpoint")
    );
}

#[test]
fn an_auditor_needs_nothing_but_a_key() {
    let scene = Scene::new();
    let auditor = scene.issue_auditor();
    let streamed = scene.read(&auditor, "/events?leaf_hashes=true", "application/x-ndjson");
    let file = scene.place.file("streamed", &streamed);
    let key = scene.read(&auditor, "/log/key", "*/*");
    let said = verify(file.to_str().unwrap(), key.trim_end(), &[]).succeeded().stdout;
    assert!(said.starts_with("7 events verified against the checkpoint of 7 events\n"), "{said}");
    changed(file.to_str().unwrap(), "tea, not", "tea, nou");
    let fault = verify(file.to_str().unwrap(), key.trim_end(), &[]);
    assert_eq!(fault.error(), "line 5: event 5 is not the one that was signed");
}

#[test]
fn scopes_and_identities_that_do_not_go_together_are_refused() {
    let scene = Scene::new();
    let issue = |flags: &[&str]| {
        let issue = ["key", "issue", "--org", "acme", "--label", "x"];
        scene.place.run(&[&issue, flags].concat())
    };
    let mistaken = |flags: &[&str], said: &str| {
        let finished = issue(flags);
        assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
    };
    mistaken(&["--scope", "agent"], "--identity <HANDLE>");
    mistaken(&["--scope", "auditor", "--identity", "night-watch"], "--identity is for agent keys only");
    mistaken(&["--scope", "owner"], "owner");
    issue(&["--scope", "agent", "--identity", "night-watch"]).succeeded();
}

#[test]
fn a_new_epoch_has_a_key_of_its_own_and_goes_on_with_the_same_events() {
    let scene = Scene::new();
    let (note, old_key) = (scene.checkpoint(), scene.verifier_key());
    let begun = scene.place.run(&["audit", "new-epoch", "--org", "acme"]).succeeded().stdout;
    let key = begun.strip_prefix("epoch 2 begins with 6 events\nkey ").expect(&begun).trim_end().to_owned();
    assert_eq!(scene.verifier_key(), key, "the running service signs the new epoch");
    scene.call(Method::POST, "/identities", &json!({"agent_handle": "third"}));
    let file = scene.export("export", &[]);
    let said = verify(&file, &key, &["--previous", &note]).succeeded().stdout;
    assert!(said.starts_with("7 events verified against the checkpoint of 7 events\n"), "{said}");
    assert!(verify(&file, &old_key, &[]).error().contains("the key of another history"));
    let json = scene.place.run(&["audit", "new-epoch", "--org", "acme", "--json"]).succeeded().json();
    assert_eq!((&json["epoch"], &json["size"]), (&json!(3), &json!(7)));
    let nobody = scene.place.run(&["audit", "new-epoch", "--org", "nobody"]);
    assert!(nobody.error().contains("nobody"), "{}", nobody.stderr);
}

#[test]
fn a_table_is_for_spreadsheets() {
    let scene = Scene::new();
    let table = scene.export("table", &["--format", "csv", "--after", "2"]);
    let text = fs::read_to_string(&table).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines[0].starts_with("organization_id,organization_sequence,aggregate_type,"), "{text}");
    assert!(
        lines[3].contains("identity.description_changed") && lines[3].contains("tea, not coffee"),
        "{text}"
    );
    let refused = verify(&table, &scene.verifier_key(), &[]);
    assert_eq!(refused.error(), "a table proves nothing; export the history as ndjson");
}

#[test]
fn an_export_replaces_no_file_and_leaves_none_that_is_not_whole() {
    let scene = Scene::new();
    let (file, link) = (scene.place.file("there", "another"), scene.place.path("link"));
    std::os::unix::fs::symlink(scene.place.path("target"), &link).unwrap();
    let export = |path: &Path, flags: &[&str]| {
        let export = ["audit", "export", "--org", "acme", "--output", path.to_str().unwrap()];
        scene.place.run(&[&export, flags].concat())
    };
    for path in [&file, &link] {
        let refused = export(path, &[]);
        assert_eq!(refused.error(), format!("{} is there already", path.display()));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "another");
    assert!(!scene.place.path("target").exists());
    let new = scene.place.path("new");
    export(&new, &["--after", "100000"]).error();
    for left in ["new", "new.unfinished"] {
        assert!(!scene.place.path(left).exists(), "{left}");
    }
    export(&new, &[]).succeeded();
    assert!(!scene.place.path("new.unfinished").exists());
    verify(new.to_str().unwrap(), &scene.verifier_key(), &[]).succeeded();
}

/// A command that may use at most 6 GB of address space.
fn with_little_memory(arguments: &[&str]) -> Finished {
    run(&mut through_shell(&bare(arguments), r#"ulimit -v 6000000; exec "$0" "$@""#))
}

#[test]
fn a_file_without_lines_takes_little_memory() {
    use std::os::unix::fs::FileExt as _;

    let scene = Scene::new();
    let (export, key) = (scene.export("export", &[]), scene.verifier_key());
    let trailer = fs::read_to_string(&export).unwrap().lines().last().unwrap().to_owned();
    let sparse = scene.place.file("sparse", "");
    let written = fs::File::options().write(true).open(&sparse).unwrap();
    written.set_len(12 << 30).unwrap();
    written.write_all_at(b"{", 0).unwrap();
    let path = sparse.to_str().unwrap();
    let longest = "line 1: this line is longer than 32 MiB, which no event is";
    for ending in [String::new(), format!("\n{trailer}\n")] {
        written.write_all_at(ending.as_bytes(), 12 << 30).unwrap();
        assert_eq!(with_little_memory(&["audit", "verify", path, "--key", &key]).error(), longest);
        let replay = ["audit", "replay", path, "--identity", "harbor-desk"];
        assert_eq!(with_little_memory(&replay).error(), longest);
    }
    let previous = ["audit", "verify", &export, "--key", &key, "--previous", path];
    assert!(with_little_memory(&previous).error().contains("the file is larger than"));
    let device = with_little_memory(&["audit", "verify", "/dev/zero", "--key", &key]);
    assert_eq!(device.error(), "cannot read /dev/zero: it is not a regular file");
}
