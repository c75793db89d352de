//! Grants to single viewers.

use serde_json::{Value, json};

use super::rows;
use crate::harness::{Refusal, World, text};

// Scenario 25.
#[test]
fn the_newborn_see_only_themselves() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let listed = alpha.client().list_identities().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].agent_handle, "alpha");
    alpha.client().identities().get("bravo").refused(404);
    assert!(bravo.sees("bravo") && !bravo.sees("alpha"));
    assert!(world.admin().client().identities().list_access("bravo").unwrap().is_empty());
}

// Scenario 26.
#[test]
fn a_grant_is_for_one_viewer_and_in_one_direction() {
    let world = World::new();
    let [alpha, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    let target = world.admin().client().get_identity("bravo").unwrap();
    let row = target.grant_access(Some(&alpha.id)).unwrap();
    assert_eq!(row.target_identity_id.to_string(), bravo.id);
    assert_eq!(row.viewer_identity_id.map(|id| id.to_string()), Some(alpha.id.clone()));
    assert!(alpha.sees("bravo"));
    assert!(!bravo.sees("alpha"));
    assert!(!carol.sees("alpha") && !carol.sees("bravo"));
    assert_eq!(alpha.handles(), ["bravo", "alpha"], "what is seen keeps its place in the list");
}

#[test]
fn a_grant_answers_the_row_that_is_listed_everywhere() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let row = admin.grant("bravo", &alpha.id).created();
    assert_eq!(
        (&row["target_identity_id"], &row["viewer_identity_id"]),
        (&json!(bravo.id), &json!(alpha.id))
    );
    assert_eq!(admin.list("/identities/bravo/access"), std::slice::from_ref(&row));
    assert_eq!(admin.identity("bravo")["access"], json!([row]));
    assert_eq!(admin.identity("alpha")["access"], json!([]));
}

#[test]
fn rows_are_listed_oldest_first() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol, delta] = world.agents(["alpha", "bravo", "carol", "delta"]);
    for viewer in [&carol, &alpha, &delta] {
        admin.grant("bravo", &viewer.id).created();
    }
    assert_eq!(admin.viewers("bravo"), rows(&[&carol.id, &alpha.id, &delta.id]));
}

// Scenario 27.
#[test]
fn a_second_grant_is_refused_in_plain_words() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    admin.grant("bravo", &alpha.id).created();
    let again = || admin.client().identities().grant_access("bravo", Some(&alpha.id));
    world.stores_nothing(|| again().refused(409));
    assert_eq!(admin.viewers("bravo"), rows(&[&alpha.id]));
}

// Scenario 33.
#[test]
fn revoking_the_last_grant_leaves_nobody() {
    let world = World::new();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let target = world.admin().client().get_identity("bravo").unwrap();
    target.grant_access(Some(&alpha.id)).unwrap();
    target.revoke_access(&alpha.id).unwrap();
    assert!(target.list_access().unwrap().is_empty());
    assert!(!alpha.sees("bravo"));
    world.stores_nothing(|| target.revoke_access(&alpha.id).refused(404));
}

#[test]
fn revoking_one_of_several_grants_keeps_the_others() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("bravo", &alpha.id).created();
    let kept = admin.grant("bravo", &carol.id).created();
    admin.revoke("bravo", &alpha.id).no_content();
    assert_eq!(admin.list("/identities/bravo/access"), [kept]);
    assert!(carol.sees("bravo") && !alpha.sees("bravo"));
}

// Section 4.3: the path names the viewer, not the row.
#[test]
fn a_row_id_revokes_nothing() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let row = admin.grant("bravo", &alpha.id).created();
    world.stores_nothing(|| admin.revoke("bravo", &text(&row["id"])).refused(404));
    assert!(alpha.sees("bravo"));
}

#[test]
fn a_grant_given_again_after_it_was_revoked_is_a_new_row() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let first = admin.grant("bravo", &alpha.id).created();
    admin.revoke("bravo", &alpha.id).no_content();
    let second = admin.grant("bravo", &alpha.id).created();
    assert_ne!(first["id"], second["id"]);
    assert!(alpha.sees("bravo"));
}

// Decision D26.
#[test]
fn the_row_of_a_deleted_viewer_vanishes() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("bravo", &alpha.id).created();
    admin.grant("bravo", &carol.id).created();
    admin.remove("alpha");
    assert_eq!(admin.viewers("bravo"), rows(&[&carol.id]));
    assert_eq!(admin.identity("bravo")["access"].as_array().map(Vec::len), Some(1));
    world.stores_nothing(|| admin.revoke("bravo", &alpha.id).refused(404));
    world.stores_nothing(|| admin.grant("bravo", &alpha.id).refused(404));
}

// Decision D26: the state follows from the rows. Without a row nobody sees the target, and the next grant adds the
// first viewer.
#[test]
fn a_target_whose_last_viewer_is_deleted_is_seen_by_nobody() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("bravo", &alpha.id).created();
    admin.remove("alpha");
    assert_eq!(admin.viewers("bravo"), Vec::<Value>::new());
    admin.grant("bravo", &carol.id).created();
    assert_eq!(admin.viewers("bravo"), rows(&[&carol.id]));
}
