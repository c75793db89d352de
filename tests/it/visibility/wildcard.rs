//! The wildcard: everybody sees a target, until one viewer is revoked.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rows;
use crate::harness::{Refusal, World, text};

// Scenario 28.
#[test]
fn opening_replaces_every_single_grant_by_one_row_for_everyone() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("bravo", &alpha.id).created();
    let row = admin.client().get_identity("bravo").unwrap().grant_access(None).unwrap();
    assert_eq!(row.viewer_identity_id, None);
    assert_eq!(row.target_identity_id.to_string(), bravo.id);
    let listed = admin.list("/identities/bravo/access");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["viewer_identity_id"], Value::Null);
    assert!(listed[0].as_object().unwrap().contains_key("viewer_identity_id"), "null is said, not left out");
    assert!(alpha.sees("bravo") && carol.sees("bravo"));
    assert!(!bravo.sees("alpha"), "the target sees no more than before");
}

#[test]
fn silence_about_the_viewer_means_everyone() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    admin.create("bravo");
    let row = admin.post("/identities/bravo/access", &json!({})).created();
    assert_eq!(row["viewer_identity_id"], Value::Null);
    assert!(alpha.sees("bravo"));
}

// Scenario 29.
#[test]
fn the_wildcard_holds_for_those_born_later() {
    let world = World::new();
    let admin = world.admin();
    admin.create("bravo");
    admin.open("bravo");
    assert!(world.agent("delta").sees("bravo"));
    assert!(!world.agent("echo").sees("delta"));
}

#[test]
fn the_wildcard_ends_at_the_organization() {
    let world = World::new();
    let other = world.other_admin();
    world.admin().create("bravo");
    world.admin().open("bravo");
    let foreigner = other.create("foreigner");
    let key = other.mint("foreigner", &text(&foreigner["id"]));
    let foreigner = world.holder_of(&text(&key["api_key"]));
    assert!(!foreigner.sees("bravo"));
    assert!(!other.sees("bravo"));
}

// Scenario 30.
#[test]
fn a_grant_on_top_of_the_wildcard_is_redundant() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    admin.open("bravo");
    let before = admin.list("/identities/bravo/access");
    let attempt = || admin.client().identities().grant_access("bravo", Some(&alpha.id));
    world.stores_nothing(|| attempt().redundant());
    let detail = admin.grant("bravo", &alpha.id).refused_as(409, "redundant_grant");
    assert!(!text(&detail["detail"]).is_empty());
    assert_eq!(admin.list("/identities/bravo/access"), before);
}

// Scenario 31 and decision D4.
#[test]
fn opening_twice_is_opening_once() {
    let world = World::new();
    let admin = world.admin();
    admin.create("bravo");
    let first = admin.open("bravo");
    let second = world.stores_nothing(|| admin.open("bravo"));
    assert_eq!(second, first);
    assert_eq!(admin.list("/identities/bravo/access"), [first]);
}

// Scenario 32 and decision D3.
#[test]
fn revoking_one_viewer_from_the_wildcard_names_all_the_others() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo, carol, delta] = world.agents(["alpha", "bravo", "carol", "delta"]);
    admin.open("bravo");
    admin.client().get_identity("bravo").unwrap().revoke_access(&carol.id).unwrap();
    let named: BTreeSet<_> = admin.viewers("bravo").iter().map(text).collect();
    assert_eq!(named, BTreeSet::from([alpha.id.clone(), delta.id.clone()]));
    assert!(!carol.sees("bravo"));
    assert!(alpha.sees("bravo") && delta.sees("bravo") && bravo.sees("bravo"));
    assert!(!world.agent("echo").sees("bravo"), "rows name who was there, not who comes later");
}

#[test]
fn rows_of_a_narrowed_wildcard_are_rows_like_any_other() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.open("bravo");
    admin.revoke("bravo", &carol.id).no_content();
    let listed = admin.list("/identities/bravo/access");
    assert!(listed.iter().all(|row| row["target_identity_id"] == bravo.id.as_str()));
    assert_eq!(admin.identity("bravo")["access"], json!(listed));
    admin.grant("bravo", &alpha.id).refused(409);
    admin.grant("bravo", &carol.id).created();
    admin.revoke("bravo", &alpha.id).no_content();
    assert_eq!(admin.viewers("bravo"), rows(&[&carol.id]));
}

#[test]
fn narrowing_for_the_only_other_leaves_nobody() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    admin.open("bravo");
    admin.revoke("bravo", &alpha.id).no_content();
    assert_eq!(admin.viewers("bravo"), Vec::<Value>::new());
    assert!(!alpha.sees("bravo"));
}

#[test]
fn the_deleted_are_not_named_when_a_wildcard_is_narrowed() {
    let world = World::new();
    let admin = world.admin();
    let [_, _, carol, delta] = world.agents(["alpha", "bravo", "carol", "delta"]);
    admin.open("bravo");
    admin.remove("alpha");
    admin.revoke("bravo", &carol.id).no_content();
    assert_eq!(admin.viewers("bravo"), rows(&[&delta.id]));
}

#[test]
fn the_wildcard_survives_a_rename_of_its_target() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    admin.create("bravo");
    let row = admin.open("bravo");
    admin.change("bravo", &json!({"agent_handle": "bravo-2"})).ok();
    assert_eq!(admin.list("/identities/bravo-2/access"), [row]);
    assert!(alpha.sees("bravo-2"));
}
