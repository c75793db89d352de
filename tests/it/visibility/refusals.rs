//! Grants and revocations that are refused, and which reason is given if there are several.

use serde_json::{Value, json};

use crate::harness::{Caller, NOBODY, Refusal, World, text};

fn grant_any(caller: &Caller, target: &str, body: &Value) -> crate::harness::Answer {
    caller.post(&format!("/identities/{target}/access"), body)
}

// Scenario 34 and decision D8.
#[test]
fn nobody_is_its_own_viewer() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let target = admin.client().get_identity("alpha").unwrap();
    world.stores_nothing(|| target.grant_access(Some(&alpha.id)).invalid());
    assert!(alpha.sees("alpha"));
    world.stores_nothing(|| admin.revoke("alpha", &alpha.id).refused(404));
    admin.open("alpha");
    world.stores_nothing(|| admin.grant("alpha", &alpha.id).invalid_at(&["body"]));
    world.stores_nothing(|| admin.revoke("alpha", &alpha.id).refused(404));
}

// Scenario 34.
#[test]
fn a_viewer_must_be_a_living_identity_of_the_organization() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let deleted = text(&admin.create("carol")["id"]);
    admin.remove("carol");
    let foreign = text(&world.other_admin().create("foreigner")["id"]);
    for viewer in [NOBODY, &deleted, &foreign] {
        let grant = || admin.client().identities().grant_access("alpha", Some(viewer));
        world.stores_nothing(|| grant().refused(404));
        let revoke = || admin.client().identities().revoke_access("alpha", viewer);
        world.stores_nothing(|| revoke().refused(404));
    }
}

#[test]
fn a_revocation_that_names_nobody_leaves_the_wildcard_alone() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let row = admin.open("alpha");
    let foreign = text(&world.other_admin().create("foreigner")["id"]);
    for viewer in [NOBODY, &foreign] {
        world.stores_nothing(|| admin.revoke("alpha", viewer).refused(404));
    }
    assert_eq!(admin.list("/identities/alpha/access"), [row]);
}

#[test]
fn a_revocation_without_a_grant_finds_nothing() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    world.stores_nothing(|| admin.revoke("alpha", &bravo.id).refused(404));
    admin.grant("alpha", &carol.id).created();
    world.stores_nothing(|| admin.revoke("alpha", &bravo.id).refused(404));
}

// Scenario 34 and decision D20.
#[test]
fn a_viewer_is_named_by_a_uuid() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let client = admin.client();
    world.stores_nothing(|| client.identities().grant_access("alpha", Some("nonsense")).invalid());
    world.stores_nothing(|| client.identities().revoke_access("alpha", "nonsense").invalid());
    admin.grant("alpha", "nonsense").invalid_at(&["body", "viewer_identity_id"]);
    admin.revoke("alpha", "nonsense").invalid_at(&["path"]);
}

#[test]
fn a_grant_needs_a_body() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let empty = || admin.call(reqwest::Method::POST, "/identities/alpha/access").send();
    world.stores_nothing(|| empty().invalid_at(&["body"]));
    let broken = || admin.call(reqwest::Method::POST, "/identities/alpha/access").body("{viewer").send();
    world.stores_nothing(|| broken().not_json());
}

// Scenario 36.
#[test]
fn an_unknown_target_is_not_found() {
    let world = World::new();
    let viewer = world.agent("alpha").id;
    let admin = world.admin();
    let identities = admin.client().identities();
    identities.list_access("nobody").refused(404);
    world.stores_nothing(|| identities.grant_access("nobody", Some(&viewer)).refused(404));
    world.stores_nothing(|| identities.grant_access("nobody", None).refused(404));
    world.stores_nothing(|| identities.revoke_access("nobody", &viewer).refused(404));
}

// Section 4.2: key, scope, target, body, self, viewer, state.
#[test]
fn the_first_reason_in_order_is_the_one_given() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let bad_body = json!({"viewer_identity_id": 7});
    grant_any(&world.stranger(), "nobody", &bad_body).refused(401);
    grant_any(&alpha, "nobody", &bad_body).refused(403);
    grant_any(&admin, "nobody", &bad_body).refused(404);
    grant_any(&admin, "alpha", &bad_body).invalid_at(&["body", "viewer_identity_id"]);
    // Under a wildcard, an unknown viewer is refused as unknown, and not as redundant.
    admin.open("alpha");
    admin.grant("alpha", NOBODY).refused(404);
}
