//! What somebody writes to the database without the signing key: everybody says so, and a new epoch goes on.

use reqwest::blocking::Client;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{Scene, verify};
use crate::harness::{Place, eventually};

/// An event that somebody with the password of the database inserts in an admin's name.
const FORGED: &str = "
    with made as (
        insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                            event_type, event_version, payload, metadata, recorded_at, leaf_hash)
        select position + 1, organization_id, organization_sequence + 1, aggregate_type, aggregate_id, sequence + 1,
               event_type, event_version, payload, metadata, recorded_at, sha256('forged')
        from events order by position desc limit 1
        returning organization_id
    ), moved as (update organization_heads set sequence = sequence + 1 where organization_id in (table made))
    update log_head set position = position + 1";

fn execute(place: &Place, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = PgConnection::connect(&place.database_url()).await.unwrap();
        database.execute(statement).await.unwrap();
        database.close().await.unwrap();
    });
}

/// The export contains the forged event and says why it is not signed, and its verification fails. Doctor and metrics
/// report the same.
#[test]
fn a_log_with_a_forged_event_is_not_verified_and_everybody_says_so() {
    let scene = Scene::new();
    let key = scene.verifier_key();
    // Getting a checkpoint makes the service sign all events.
    scene.checkpoint();
    execute(&scene.place, FORGED);
    let file = scene.place.path("export");
    let file = file.to_str().unwrap();
    let why = "event 7 was not written by this installation: its seal or its leaf hash is missing, of another key, or of another event";
    let exported = scene.place.run(&["audit", "export", "--org", "acme", "--output", file]);
    assert!(exported.succeeded().stderr.contains(why));
    let fault = verify(file, &key, &[]);
    assert!(fault.error().starts_with("line 7: event 7 is not proved"), "{}", fault.stderr);
    let said = verify(file, &key, &["--allow-unproved"]).succeeded().stdout;
    assert!(said.contains(&format!("the service does not sign it any more: {why}")), "{said}");
    let checked = scene.place.run(&["doctor"]);
    assert!(checked.stdout.contains(&format!("is not signed any more: {why}")), "{}", checked.stdout);
    assert_eq!(checked.status.code(), Some(1));
    let url = scene.service.metrics();
    eventually("the metric tells of it", || {
        Client::new().get(url).send().unwrap().text().unwrap().contains("identityd_logs_refused 1")
    });
}

/// Leaf hash and seal are those of another event. An operator who has looked signs the event as it is, and backups are whole afterwards.
#[test]
fn an_event_with_a_copied_seal_is_named_and_a_new_epoch_signs_it_as_it_is() {
    let scene = Scene::new();
    scene.checkpoint();
    execute(
        &scene.place,
        &FORGED.replace("leaf_hash)", "leaf_hash, seal)").replace("sha256('forged')", "leaf_hash, seal"),
    );
    let checked = scene.place.run(&["doctor", "--json"]).stdout;
    assert!(checked.contains("event 7 was not written by this installation"), "{checked}");
    scene.place.run(&["audit", "new-epoch", "--org", "acme"]).succeeded();
    let said = verify(&scene.export("export", &[]), &scene.verifier_key(), &[]).succeeded().stdout;
    assert!(said.starts_with("7 events verified against the checkpoint of 7 events\n"), "{said}");
    is_backed_up_whole(&scene);
}

fn is_backed_up_whole(scene: &Scene) {
    let backup = scene.place.path("backup");
    let backup = backup.to_str().unwrap();
    scene.place.run(&["backup", backup]).succeeded();
    scene.place.run(&["backup", "verify", backup]).succeeded();
}

/// Somebody with rights of the owner made a checkpoint unreadable. Doctor says whose, and what to do; backups are whole afterwards.
#[test]
fn a_checkpoint_that_cannot_be_read_is_named_and_a_new_epoch_goes_on() {
    let scene = Scene::new();
    scene.checkpoint();
    execute(
        &scene.place,
        "set session_replication_role = replica; update checkpoints set note = note || 'x'",
    );
    let why = "the last checkpoint in the database cannot be read: its note was changed";
    let checked = scene.place.run(&["doctor", "--json"]).stdout;
    let found = format!(
        "is not signed any more: {why}. Find out which history is the right one, then run `identityd audit new-epoch --org org_"
    );
    assert!(checked.contains(&found), "{checked}");
    let file = scene.place.path("export");
    let exported = scene.place.run(&["audit", "export", "--org", "acme", "--output", file.to_str().unwrap()]);
    assert!(
        !exported.status.success() && exported.stderr.contains("nothing can be exported"),
        "{}",
        exported.stderr
    );
    scene.place.run(&["audit", "new-epoch", "--org", "acme"]).succeeded();
    let checked = scene.place.run(&["doctor", "--json"]).stdout;
    assert!(!checked.contains("is not signed any more"), "{checked}");
    verify(&scene.export("export", &[]), &scene.verifier_key(), &[]).succeeded();
    is_backed_up_whole(&scene);
}

/// Each rotation adds two lines to a note, and whoever can write to the database can add others.
#[test]
fn a_note_without_room_ends_a_rotation_which_goes_on_in_a_new_epoch() {
    let scene = Scene::new();
    scene.checkpoint();
    execute(
        &scene.place,
        "update checkpoints set note = note || repeat('— w ' || repeat('A', 91) || E'=\\n', 61)",
    );
    let Scene { service, place, .. } = scene;
    assert!(service.stop().success());
    let full = place.run(&["audit", "rotate-key"]);
    assert!(full.error().contains("has no room for two more signatures"), "{}", full.stderr);
    place.run(&["audit", "new-epoch", "--org", "acme"]).succeeded();
    place.run(&["audit", "rotate-key"]).succeeded();
}
