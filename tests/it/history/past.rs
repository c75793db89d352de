//! Identities as of a past moment.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{World, text};

/// The moment of the last event.
fn now(world: &World) -> String {
    let events = world.admin().get("/events?limit=1000").ok();
    text(&events["events"].as_array().unwrap().last().unwrap()["recorded_at"])
}

#[test]
fn an_identity_is_shown_as_it_was() {
    let world = World::new();
    let admin = world.admin();
    let bravo = world.agent("bravo");
    admin.create("alpha");
    admin.grant("alpha", &bravo.id).created();
    let (before, moment) = (admin.get("/identities/alpha").bytes, now(&world));
    admin.change("alpha", &json!({"display_name": "Other"})).ok();
    admin.revoke("alpha", &bravo.id).no_content();
    admin.remove("bravo");
    for historian in [admin, world.auditor()] {
        assert_eq!(historian.get(&format!("/identities/alpha?as_of={moment}")).bytes, before);
        assert_eq!(historian.get("/identities/alpha?as_of=sequence:2").bytes, before);
    }
}

#[test]
fn viewers_who_were_gone_by_then_are_left_out_and_others_are_not() {
    let world = World::new();
    let admin = world.admin();
    let bravo = world.agent("bravo");
    admin.create("alpha");
    admin.grant("alpha", &bravo.id).created();
    let (with_bravo, first) = (admin.get("/identities/alpha").bytes, now(&world));
    admin.remove("bravo");
    let (without, second) = (admin.get("/identities/alpha").bytes, now(&world));
    assert_ne!(with_bravo, without);
    assert_eq!(admin.get(&format!("/identities/alpha?as_of={first}")).bytes, with_bravo);
    assert_eq!(admin.get(&format!("/identities/alpha?as_of={second}")).bytes, without);
}

#[test]
fn a_handle_means_who_had_it_then() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    let first = text(&admin.create("alpha")["id"]);
    let was_first = now(&world);
    admin.change("alpha", &json!({"agent_handle": "other"})).ok();
    let was_nobody = now(&world);
    admin.remove("other");
    let second = text(&admin.create("alpha")["id"]);
    let was_second = now(&world);
    let at = |moment: &str| admin.get(&format!("/identities/alpha?as_of={moment}"));
    assert_eq!(at(&was_first).ok()["id"], json!(first));
    at(&was_nobody).refused(404);
    assert_eq!(at(&was_second).ok()["id"], json!(second));
    assert_eq!(at("sequence:1").ok()["id"], json!(second), "of several, the last who took the handle");
    at("sequence:2").refused(404);
    assert_eq!(admin.get("/identities/other?as_of=sequence:2").ok()["id"], json!(first));
    admin.get("/identities/other?as_of=sequence:3").refused(404);
}

#[test]
fn what_has_not_been_is_not_shown() {
    let world = World::new();
    let admin = world.admin();
    let before = now(&world);
    admin.create("alpha");
    assert_eq!(admin.get(&format!("/identities?as_of={before}")).ok(), json!([]));
    admin.get(&format!("/identities/alpha?as_of={before}")).refused(404);
    for (moment, status) in [("2000-01-01T00:00:00Z", 404), ("sequence:2", 404), ("sequence:99999", 404)] {
        admin.get(&format!("/identities/alpha?as_of={moment}")).refused(status);
    }
    admin.get("/identities?as_of=2000-01-01T00:00:00Z").refused(404);
    for nonsense in [
        "2999-01-01T00:00:00Z",
        "",
        "yesterday",
        "sequence:0",
        "sequence:%2B1",
        "sequence:01",
        "sequence:-1",
        "sequence:x",
        "sequence:",
        "2026-01-01",
    ] {
        let path = format!("as_of={nonsense}");
        admin.get(&format!("/identities/alpha?{path}")).invalid_at(&["query", "as_of"]);
        admin.get(&format!("/identities?{path}")).invalid_at(&["query", "as_of"]);
    }
    admin.get("/identities?as_of=sequence:1").invalid_at(&["query", "as_of"]);
    admin.get(&format!("/identities?as_of={before}&as_of={before}")).invalid_at(&["query", "as_of"]);
}

#[test]
fn a_moment_between_two_events_and_in_another_offset_is_a_moment_too() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let (body, moment) = (admin.get("/identities").bytes, now(&world));
    let later = moment.replace('Z', "9Z");
    assert_eq!(admin.get(&format!("/identities?as_of={later}")).bytes, body);
    assert_eq!(admin.get(&format!("/identities?as_of={}", moment.replace('Z', "%2B00:00"))).bytes, body);
    assert_eq!(admin.get(&format!("/identities?as_of={}", moment.replace('Z', "+00:00"))).bytes, body);
}

#[test]
fn a_deleted_identity_is_there_as_of_when_it_lived() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let (body, moment) = (admin.get("/identities/alpha").bytes, now(&world));
    admin.remove("alpha");
    assert_eq!(admin.get(&format!("/identities/alpha?as_of={moment}")).bytes, body);
    admin.get(&format!("/identities/alpha?as_of={}", now(&world))).refused(404);
    let events: Vec<Value> = admin.events_of("alpha");
    assert_eq!(events.len(), 2);
}

/// A list that is longer than one piece of the stream.
#[test]
fn a_long_list_of_the_past_is_written_as_it_is_read_and_is_whole() {
    let world = World::new();
    let admin = world.admin();
    for number in 0..340 {
        admin.create(&format!("agent-{number:03}"));
    }
    admin.open("agent-339");
    for number in [0, 64, 200] {
        admin.remove(&format!("agent-{number:03}"));
    }
    let (before, moment) = (admin.get("/identities").ok(), now(&world));
    assert_eq!(before.as_array().unwrap().len(), 337);
    admin.change("agent-100", &json!({"description": "later"})).ok();
    admin.remove("agent-101");
    let answer = admin.get(&format!("/identities?as_of={moment}")).must_be(200);
    assert!(!answer.headers.contains_key("content-length"), "it is not held until it is whole");
    assert_eq!(answer.ok(), before);
}
