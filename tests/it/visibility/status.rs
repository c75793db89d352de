//! A paused identity keeps everything, but neither sees others nor is seen through the wildcard. Decision D1.

use serde_json::json;

use super::rows;
use crate::harness::{World, text};

/// The identities alpha and bravo, both open to everybody.
fn open_pair() -> World {
    let world = World::new();
    world.agents(["alpha", "bravo"]);
    world.admin().open("alpha");
    world.admin().open("bravo");
    world
}

fn set(world: &World, handle: &str, status: &str) {
    assert_eq!(world.admin().change(handle, &json!({"status": status})).ok()["status"], status);
}

#[test]
fn a_paused_viewer_sees_only_itself() {
    let world = open_pair();
    set(&world, "alpha", "paused");
    assert_eq!(world.agent("alpha").handles(), ["alpha"]);
    assert!(!world.agent("alpha").sees("bravo"));
}

#[test]
fn a_paused_target_is_hidden_from_other_agents() {
    let world = open_pair();
    set(&world, "alpha", "paused");
    assert!(!world.agent("bravo").sees("alpha"));
    assert!(world.agent("alpha").sees("alpha"));
    assert!(world.admin().sees("alpha"));
}

#[test]
fn a_pause_ends_as_if_it_had_not_been() {
    let world = open_pair();
    let before = world.admin().identity("alpha");
    set(&world, "alpha", "paused");
    set(&world, "alpha", "active");
    let mut after = world.admin().identity("alpha");
    after["updated_at"] = before["updated_at"].clone();
    assert_eq!(after, before);
    assert!(world.agent("alpha").sees("bravo") && world.agent("bravo").sees("alpha"));
}

#[test]
fn the_keys_of_a_paused_identity_work() {
    let world = open_pair();
    set(&world, "alpha", "paused");
    let alpha = world.agent("alpha");
    alpha.client().whoami().unwrap();
    assert_eq!(alpha.identity("alpha")["status"], "paused");
    assert_eq!(alpha.change("alpha", &json!({"display_name": "A"})).ok()["display_name"], "A");
}

// Section 4.2.
#[test]
fn a_paused_identity_may_be_granted_sight() {
    let world = World::new();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    set(&world, "alpha", "paused");
    world.admin().grant("bravo", &alpha.id).created();
    assert_eq!(world.admin().viewers("bravo"), rows(&[&alpha.id]));
}

#[test]
fn a_status_is_active_or_paused() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    assert_eq!(text(&created["status"]), "active");
    for wrong in [json!("deleted"), json!("gone"), json!(""), json!(null), json!(true)] {
        let attempt = || admin.change("alpha", &json!({"status": wrong}));
        world.stores_nothing(|| attempt().invalid_at(&["body", "status"]));
    }
}
