//! The cache answers what the database would answer, on the service that wrote as on any other.

use identityd::settings::WireLayer;
use serde_json::{Value, json};

use crate::harness::{BATCH, Caller, World};

/// How often a test asks before it fails. Far more often than it takes for an event to arrive.
const LOOKS: usize = 20_000;

/// Calls `is_reached` until it returns true.
#[track_caller]
fn becomes(state: &str, mut is_reached: impl FnMut() -> bool) {
    assert!((0..LOOKS).any(|_| is_reached()), "{state}");
}

fn status(caller: &Caller, handle: &str) -> u16 {
    caller.try_identity(handle).status
}

/// The number of cache hits.
fn hits(caller: &Caller, kind: &str) -> f64 {
    let series = format!("identityd_cache_lookups_total{{kind=\"{kind}\",outcome=\"hit\"}}");
    caller.metrics().value(&series).unwrap_or_default()
}

/// Asks until the answer comes from the cache.
fn warm(caller: &Caller, handle: &str) {
    let before = hits(caller, "identity");
    becomes("answers come from memory", || {
        caller.identity(handle);
        hits(caller, "identity") > before && hits(caller, "key") > 0.0
    });
}

/// Changes an identity until a changed body is answered from the cache at once.
fn change_until_remembered(caller: &Caller, handle: &str) {
    let mut turn = 0;
    becomes("what a write has made is remembered", || {
        turn += 1;
        let changed = caller.change(handle, &json!({"description": format!("turn {turn}")})).ok();
        let before = hits(caller, "identity");
        assert_eq!(caller.identity(handle), changed);
        hits(caller, "identity") > before
    });
}

#[test]
fn a_change_is_seen_by_the_next_request() {
    let world = World::new();
    let admin = world.admin();
    let viewer = world.agent("viewer");
    admin.create("alpha");
    for turn in 0..50 {
        admin.change("alpha", &json!({ "description": format!("turn {turn}") })).ok();
        assert_eq!(admin.identity("alpha")["description"], json!(format!("turn {turn}")));
    }
    admin.open("alpha");
    assert_eq!(admin.identity("alpha")["access"].as_array().unwrap().len(), 1);
    admin.revoke("alpha", &viewer.id).no_content();
    assert!(admin.identity("alpha")["access"].as_array().unwrap().is_empty());
    admin.change("alpha", &json!({"agent_handle": "bravo"})).ok();
    assert_eq!((status(&admin, "alpha"), status(&admin, "bravo")), (404, 200));
    admin.create("charlie");
    admin.remove("charlie");
    assert_eq!(status(&admin, "charlie"), 404);
}

#[test]
fn what_a_write_has_made_is_remembered() {
    let world = World::new();
    let admin = world.admin();
    let agent = world.agent("alpha");
    for caller in [&admin, &*agent] {
        change_until_remembered(caller, "alpha");
    }
    let renamed = admin.change("alpha", &json!({"agent_handle": "bravo"})).ok();
    assert_eq!((admin.identity("bravo"), status(&admin, "alpha")), (renamed, 404));
}

#[test]
fn what_a_grant_has_made_is_remembered() {
    let world = World::new();
    let admin = world.admin();
    let viewer = world.agent("viewer");
    let rows = |identity: &Value| identity["access"].as_array().unwrap().clone();
    let mut turn = 0;
    becomes("what a grant has made is remembered", || {
        turn += 1;
        let handle = format!("alpha-{turn}");
        admin.create(&handle);
        admin.identity(&handle);
        let granted = admin.grant(&handle, &viewer.id).created();
        let before = hits(&admin, "identity");
        let shown = admin.identity(&handle);
        assert_eq!(rows(&shown), [granted]);
        let opened = admin.open(&handle);
        assert_eq!(rows(&admin.identity(&handle)), [opened]);
        hits(&admin, "identity") > before + 1.0
    });
}

#[test]
fn an_access_row_ends_with_its_viewer() {
    let world = World::new();
    let admin = world.admin();
    let [viewer, _other] = world.agents(["viewer", "other"]);
    let beside = world.beside();
    let admin_there = beside.holder_of(world.admin_key());
    let rows = |identity: Value| identity["access"].as_array().unwrap().len();
    admin.create("alpha");
    admin.grant("alpha", &viewer.id).created();
    warm(&admin, "alpha");
    warm(&admin_there, "alpha");
    assert_eq!((rows(admin.identity("alpha")), rows(admin_there.identity("alpha"))), (1, 1));
    admin.remove("viewer");
    assert_eq!(rows(admin.identity("alpha")), 0);
    assert_eq!(rows(admin_there.identity("alpha")), 0);
}

#[test]
fn a_key_ends_at_once_on_its_own_service() {
    let world = World::new();
    let admin = world.admin();
    let [revoked, deleted] = world.agents(["revoked", "deleted"]);
    assert_eq!((status(&revoked, "revoked"), status(&deleted, "deleted")), (200, 200));
    admin.delete(&format!("/api-keys/{}", revoked.key_id)).no_content();
    admin.remove("deleted");
    assert_eq!((status(&revoked, "revoked"), status(&deleted, "deleted")), (401, 401));
}

#[test]
fn what_one_service_ends_ends_on_the_other() {
    let world = World::new();
    let admin = world.admin();
    let [revoked, deleted, viewer] = world.agents(["revoked", "deleted", "viewer"]);
    admin.grant("revoked", &viewer.id).created();
    let beside = world.beside();
    let [revoked_there, deleted_there, viewer_there] =
        [&revoked.key, &deleted.key, &viewer.key].map(|key| beside.holder_of(key));
    warm(&revoked_there, "revoked");
    warm(&deleted_there, "deleted");
    assert_eq!(status(&viewer_there, "revoked"), 200);

    admin.revoke("revoked", &viewer.id).no_content();
    assert_eq!(status(&viewer_there, "revoked"), 404, "the grant has ended");
    admin.change("viewer", &json!({"description": "changed"})).ok();
    assert_eq!(viewer_there.identity("viewer")["description"], json!("changed"));
    admin.delete(&format!("/api-keys/{}", revoked.key_id)).no_content();
    assert_eq!(status(&revoked_there, "revoked"), 401, "the key has ended");
    admin.remove("deleted");
    assert_eq!(status(&deleted_there, "deleted"), 401, "the identity's key has ended");
}

#[test]
fn what_one_service_has_written_the_other_reads_at_once() {
    let world = World::new();
    let beside = world.beside();
    let admins = [world.admin(), beside.holder_of(world.admin_key())];
    let viewer = world.agent("viewer").id;
    for round in 0..40 {
        let [writer, reader] = [&admins[round % 2], &admins[(round + 1) % 2]];
        let (handle, renamed) = (format!("alpha-{round}"), format!("bravo-{round}"));
        writer.create(&handle);
        warm(reader, &handle);
        let changed = writer.change(&handle, &json!({"description": "changed"})).ok();
        assert_eq!(reader.identity(&handle), changed, "round {round}");
        let granted = writer.grant(&handle, &viewer).created();
        assert_eq!(reader.identity(&handle)["access"], json!([granted]), "round {round}");
        writer.revoke(&handle, &viewer).no_content();
        assert_eq!(reader.identity(&handle)["access"], json!([]), "round {round}");
        writer.change(&handle, &json!({"agent_handle": renamed})).ok();
        assert_eq!((status(reader, &handle), status(reader, &renamed)), (404, 200), "round {round}");
        writer.remove(&renamed);
        assert_eq!(status(reader, &renamed), 404, "round {round}");
    }
}

#[test]
fn what_others_can_see_is_not_answered_from_memory_as_it_was() {
    let (tap, world) = World::tapped(WireLayer::default());
    let admin = world.admin();
    admin.create("alpha");
    // The first batch of a process is not one statement.
    admin.change("alpha", &json!({"description": "first"})).ok();
    warm(&admin, "alpha");
    admin.change("alpha", &json!({"description": "second"})).ok();
    assert_eq!(admin.identity("alpha")["description"], json!("second"));
    becomes("the service is the sole process", || {
        admin.metrics().value("identityd_sole_process") == Some(1.0)
    });
    admin.change("alpha", &json!({"description": "third"})).ok();
    admin.identity("alpha");
    std::thread::scope(|scope| {
        let held = tap.hold(BATCH);
        let changing = scope.spawn(|| world.admin().change("alpha", &json!({"description": "changed"})).ok());
        let changed = "select count(*) from read_model.identities where document::text like '%\"changed\"%'";
        becomes("the change is committed", || world.database().number(changed) == 1);
        assert_eq!(admin.identity("alpha")["description"], json!("changed"));
        assert_eq!(admin.identity("alpha")["description"], json!("changed"));
        drop(held);
        changing.join().unwrap();
    });
    assert_eq!(admin.identity("alpha")["description"], json!("changed"));
}
