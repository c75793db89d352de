//! What is not restored: a file that is not what was written, a history that is not what was signed, anything over something else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use serde_json::{Value, json};

use crate::backup::estate::{Estate, asked, call, error, execute, text};
use crate::harness::{Place, bare, run};

#[test]
fn nothing_is_restored_without_a_key_or_over_something() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let again = estate.place.run(&["backup", text(&file)]);
    assert!(error(&again).ends_with("is there already"), "{}", again.stderr);

    let without = Place::new();
    let refused = without.run(&["restore", text(&file)]);
    assert!(error(&refused).starts_with("there is no signing key in"), "{}", refused.stderr);
    assert!(!without.data_dir().exists());

    let running = estate.place.run(&["restore", text(&file)]);
    assert!(error(&running).starts_with("a service is running on this database"), "{}", running.stderr);
    let Estate { service, place, .. } = estate;
    assert!(service.stop().success());
    let filled = place.run(&["restore", text(&file)]);
    assert!(error(&filled).starts_with("this database is not empty"), "{}", filled.stderr);

    let stranger = Place::new();
    let signing = stranger.data_dir().join("signing");
    fs::create_dir_all(&signing).unwrap();
    fs::write(signing.join("key"), "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=").unwrap();
    fs::set_permissions(signing.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let other = stranger.run(&["restore", text(&file)]);
    assert!(error(&other).contains("is not signed by the given key"), "{}", other.stderr);
    let new = Place::new();
    let said = new.run(&["restore", text(&file), "--other-signing-key"]).succeeded().stdout;
    assert!(said.contains("begin a new epoch") && said.contains("secrets.key is missing"), "{said}");
}

/// Every byte of a backup counts: those of lines, of lengths, of rows.
#[test]
fn a_backup_with_another_bit_or_a_part_of_a_backup_is_refused() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    let bytes = fs::read(&file).unwrap();
    let verify = |content: &[u8]| {
        let changed = estate.place.path("changed");
        fs::write(&changed, content).unwrap();
        run(&mut bare(&["backup", "verify", text(&changed)]))
    };
    verify(&bytes).succeeded();
    let lines: Vec<usize> = section_starts(&bytes);
    assert_eq!(lines.len(), 18);
    let ends = [0, bytes.len() / 2, bytes.len() - 2, bytes.len() - 1];
    for at in lines.iter().flat_map(|start| [start + 14, start + 200]).chain(ends) {
        let mut changed = bytes.clone();
        changed[at.min(bytes.len() - 1)] ^= 1;
        let refused = verify(&changed);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {}", refused.stdout);
    }
    for length in lines.iter().copied().chain([1, bytes.len() / 2, bytes.len() - 1]) {
        assert_eq!(verify(&bytes[..length]).status.code(), Some(1), "cut after {length}");
    }
    assert!(error(&verify(&bytes[..bytes.len() - 1])).ends_with("it was cut off"));
    assert_eq!(verify(&[bytes.as_slice(), b"\n"].concat()).status.code(), Some(1));

    // A restore writes nothing of it, even if only the last line is wrong. The right file is restored in the same place.
    let target = estate.successor();
    let changed_file = estate.place.path("changed");
    for at in [bytes.len() / 2, bytes.len() - 10] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&changed_file, changed).unwrap();
        let refused = target.run(&["restore", text(&changed_file)]);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {}", refused.stdout);
        assert!(error(&refused).contains("the backup"), "byte {at}: {}", refused.stderr);
        is_empty(&target);
    }
    target.run(&["restore", text(&file)]).succeeded();
    target.run(&["projections", "verify"]).succeeded();
}

/// Asserts that nothing was restored, and nothing has begun to be.
#[track_caller]
fn is_empty(target: &Place) {
    let left = "select concat_ws(' ', (select count(*) from events), (select position from log_head), \
                                      (select count(*) from restore_under_way), pg_relation_size('events'))";
    assert_eq!(asked(target, left), "0 0 0 0");
}

fn section_starts(bytes: &[u8]) -> Vec<usize> {
    let start = br#"{"section":{"table":""#;
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(start)).collect()
}

/// An event that somebody changed in the database, leaf hash and all, is in the backup, and is found.
#[test]
fn a_history_that_was_changed_is_found_and_restored_only_on_demand() {
    let estate = Estate::new();
    change_an_event(&estate);
    let file = estate.backup("backup");
    let verified = run(&mut bare(&["backup", "verify", text(&file)]));
    assert!(verified.stdout.contains("fault in the history of"), "{}", verified.stdout);
    let target = estate.successor();
    let refused = target.run(&["restore", text(&file)]);
    assert!(error(&refused).contains("fault in the history of"), "{}", refused.stderr);
    is_empty(&target);
    // The restore signs no new epoch with the changed event.
    let said = target.run(&["restore", text(&file), "--allow-faults"]).succeeded().stdout;
    assert!(said.contains("its history has a fault") && !said.contains("begin a new epoch"), "{said}");
    let signed = "select string_agg(distinct epoch::text, ' ') from checkpoints";
    assert_eq!(asked(&target, signed), "1");
    let export = target.path("export");
    target.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
    let exported = run(&mut bare(&["audit", "verify", text(&export), "--key", &estate.verifier_key(1)]));
    assert!(error(&exported).contains("is not the one that was signed"), "{}", exported.stderr);
}

/// Changes an event in the database, and its leaf hash, so that the two agree.
pub(super) fn change_an_event(estate: &Estate) {
    let page = "/events?limit=1000";
    let page = call(&estate.service.base(), &estate.admin, &Method::GET, page, &json!(null)).body;
    let page: Value = serde_json::from_str(&page).unwrap();
    let is_changed = |event: &&Value| event["payload"]["agent_handle"] == "night-watch";
    let mut event = page["events"].as_array().unwrap().iter().find(is_changed).unwrap().clone();
    event["payload"]["agent_handle"] = json!("night-watcher");
    let leaf = identity_proof::leaf::of(&event).unwrap();
    let (payload, sequence) = (&event["payload"], &event["organization_sequence"]);
    execute(
        &estate.place,
        &format!(
            "set session_replication_role = replica;
             update events set payload = '{payload}', leaf_hash = decode('{leaf}', 'base64')
             where organization_sequence = {sequence}"
        ),
    );
}

/// Somebody without the signing key can append events to a backup. They have no seal, and no new epoch signs them.
#[test]
fn a_new_epoch_is_not_begun_with_an_event_that_has_no_seal() {
    let estate = Estate::new();
    let signed = estate.wait_until_signed().lines().nth(1).unwrap().to_owned();
    estate.made("/identities", &json!({ "agent_handle": "behind-the-checkpoint" }));
    estate.made("/identities", &json!({ "agent_handle": "after-the-backup" }));
    // The memory beside the key has both events.
    estate.wait_until_signed();
    execute(
        &estate.place,
        &format!(
            "set session_replication_role = replica;
             delete from events where position = (select position from log_head);
             update log_head set position = position - 1;
             update organization_heads set sequence = sequence - 1;
             delete from checkpoints where size > {signed}"
        ),
    );
    let sealed = estate.backup("sealed");
    execute(
        &estate.place,
        "set session_replication_role = replica;
         update events set seal = null where position = (select position from log_head)",
    );
    let unsealed = estate.backup("unsealed");

    let said = estate.successor().run(&["restore", text(&sealed)]).succeeded().stdout;
    assert!(said.contains("1 events are behind the last checkpoints"), "{said}");
    assert!(said.contains("1 logs begin a new epoch"), "{said}");
    let said = estate.successor().run(&["restore", text(&unsealed)]).succeeded().stdout;
    assert!(said.contains("was not written by this installation"), "{said}");
    assert!(!said.contains("begin a new epoch"), "{said}");
}

#[test]
fn nothing_is_restored_beside_a_signing_key_that_was_replaced() {
    let estate = Estate::new();
    let target = estate.successor();
    let Estate { service, place, .. } = estate;
    assert!(service.stop().success());
    place.run(&["audit", "rotate-key"]).succeeded();
    let file = place.path("backup");
    place.run(&["backup", text(&file)]).succeeded();
    for word in ["--nothing-lost", "--other-signing-key"] {
        let refused = target.run(&["restore", text(&file), word]);
        assert!(error(&refused).contains("was replaced before the backup was taken"), "{}", refused.stderr);
        is_empty(&target);
    }
}

/// An operator begins a new epoch because of such a note, so no fault of the backup is one of an earlier epoch.
#[test]
fn a_backup_with_a_spoiled_note_of_an_earlier_epoch_is_restored() {
    let estate = Estate::new();
    estate.place.run(&["audit", "new-epoch", "--org", "acme"]).succeeded();
    execute(
        &estate.place,
        "set session_replication_role = replica; update checkpoints set note = 'spoiled' where epoch = 1",
    );
    let file = estate.backup("backup");
    let target = estate.successor();
    target.run(&["restore", text(&file)]).succeeded();
    let spoiled = "select concat_ws(' ', bool_and(note = 'spoiled'), \
                   (select string_agg(distinct tgenabled::text, ' ') from pg_trigger where not tgisinternal)) \
                   from checkpoints where epoch = 1";
    assert_eq!(asked(&target, spoiled), "t O");
}
