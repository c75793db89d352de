//! Two organizations on one service do not see each other. `matrix/authorization.rs` checks that for every operation.

use serde_json::json;

use crate::harness::{Refusal, World, text};

/// Paths of resources of an organization, with an identity that everybody in it may see.
fn estate(world: &World) -> Vec<String> {
    let admin = world.admin();
    admin.create("alpha");
    let phone = admin.provision("alpha");
    admin.register_secret("first");
    admin.open("alpha");
    let tunnel = text(&admin.identity("alpha")["tunnel"]["id"]);
    vec![
        "/identities/alpha".to_owned(),
        "/mail/mailboxes/alpha".to_owned(),
        format!("/tunnels/{tunnel}"),
        format!("/phone/numbers/{}", text(&phone["id"])),
    ]
}

// Scenario 17.
#[test]
fn another_organization_lists_nothing_and_gets_nothing() {
    let world = World::new();
    let estate = estate(&world);
    let other = world.other_admin();
    assert!(other.client().list_identities().unwrap().is_empty());
    assert!(other.client().tunnels().list().unwrap().is_empty());
    assert!(other.client().mailboxes().list().unwrap().is_empty());
    assert!(other.client().phone_numbers().list().unwrap().is_empty());
    assert!(other.list("/vault/secrets").is_empty());
    assert_eq!(other.list("/api-keys").len(), 1);
    other.client().identities().get("alpha").refused(404);
    for path in estate {
        other.get(&path).refused(404);
    }
}

#[test]
fn agents_of_another_organization_are_strangers_too() {
    let world = World::new();
    let estate = estate(&world);
    let other = world.other_admin();
    let foreigner = text(&other.create("foreigner")["id"]);
    let foreigner = world.holder_of(&text(&other.mint("key", &foreigner)["api_key"]));
    assert_eq!(foreigner.handles(), ["foreigner"]);
    for path in estate {
        foreigner.get(&path).refused(404);
    }
    world.stores_nothing(|| foreigner.change("alpha", &json!({"display_name": "theirs"})).refused(404));
}

#[test]
fn each_organization_has_its_own_history_side_by_side() {
    let world = World::new();
    let (admin, other) = (world.admin(), world.other_admin());
    admin.create("alpha");
    other.create("bravo");
    admin.create("carol");
    assert_eq!(admin.handles(), ["carol", "alpha"]);
    assert_eq!(other.handles(), ["bravo"]);
    assert_ne!(admin.identity("alpha")["organization_id"], other.identity("bravo")["organization_id"]);
}
