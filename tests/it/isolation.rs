//! Two organizations on one service know nothing of each other.

use serde_json::{Value, json};

use crate::harness::{Answer, Caller, NOBODY, Refusal, World, text};

/// Everything an organization can have, as the home organization sees it.
struct Estate {
    identity: Value,
    phone: Value,
    secret: Value,
}

impl Estate {
    fn of(world: &World) -> Self {
        let admin = world.admin();
        admin.create("alpha");
        let phone = admin.provision("alpha");
        let secret = admin.register_secret("first");
        admin.open("alpha");
        Self { identity: admin.identity("alpha"), phone, secret }
    }

    /// Paths of single things, each paired with the same path of something that never was.
    fn paths(&self) -> Vec<(String, String)> {
        let pair =
            |folder: &str, id: &Value| (format!("{folder}/{}", text(id)), format!("{folder}/{NOBODY}"));
        let named = |folder: &str| (format!("{folder}/alpha"), format!("{folder}/nobody"));
        vec![
            named("/identities"),
            named("/mail/mailboxes"),
            pair("/tunnels", &self.identity["tunnel"]["id"]),
            pair("/phone/numbers", &self.phone["id"]),
        ]
    }
}

// Scenario 17.
#[test]
fn another_organization_lists_nothing_and_gets_nothing() {
    let world = World::new();
    let estate = Estate::of(&world);
    let other = world.other_admin();
    assert!(other.client().list_identities().unwrap().is_empty());
    assert!(other.client().tunnels().list().unwrap().is_empty());
    assert!(other.client().mailboxes().list().unwrap().is_empty());
    assert!(other.client().phone_numbers().list().unwrap().is_empty());
    assert!(other.list("/vault/secrets").is_empty());
    assert_eq!(other.list("/api-keys").len(), 1);
    other.client().identities().get("alpha").refused(404);
    for (path, _) in estate.paths() {
        other.get(&path).refused(404);
    }
}

#[test]
fn the_foreign_looks_like_what_never_was() {
    let world = World::new();
    let estate = Estate::of(&world);
    let other = world.other_admin();
    let same = |ask: &dyn Fn(&str) -> Answer, foreign: &str, unborn: &str| {
        let (foreign, unborn) = (ask(foreign).must_be(404), ask(unborn).must_be(404));
        assert_eq!(foreign.without_request_id(), unborn.without_request_id());
    };
    for (foreign, unborn) in estate.paths() {
        same(&|path| other.get(path), &foreign, &unborn);
        same(&|path| other.patch(path, &json!({})), &foreign, &unborn);
    }
    same(&|path| other.delete(path), "/identities/alpha", "/identities/nobody");
    same(&|path| other.delete(path), "/identities/alpha/phone_number", "/identities/nobody/phone_number");
    same(&|path| other.get(path), "/identities/alpha/access", "/identities/nobody/access");
    same(&|path| other.post(path, &json!({})), "/identities/alpha/access", "/identities/nobody/access");
}

#[test]
fn another_organization_changes_nothing() {
    let world = World::new();
    let estate = Estate::of(&world);
    let (admin, other) = (world.admin(), world.other_admin());
    let id = text(&estate.identity["id"]);
    let phone = format!("/phone/numbers/{}", text(&estate.phone["id"]));
    let tunnel = format!("/tunnels/{}", text(&estate.identity["tunnel"]["id"]));
    let secret = format!("/vault/secrets/{}", text(&estate.secret["id"]));
    let attempts: [&dyn Fn(&Caller) -> Answer; 13] = [
        &|caller| caller.change("alpha", &json!({"display_name": "theirs"})),
        &|caller| caller.delete("/identities/alpha"),
        &|caller| caller.delete("/identities/alpha/phone_number"),
        &|caller| caller.post("/identities/alpha/access", &json!({})),
        &|caller| caller.revoke("alpha", &id),
        &|caller| caller.post("/phone/numbers", &json!({"agent_handle": "alpha"})),
        &|caller| caller.patch(&phone, &json!({"filter_mode": "whitelist"})),
        &|caller| caller.delete(&phone),
        &|caller| caller.patch(&tunnel, &json!({"metadata": {"a": 1}})),
        &|caller| caller.patch("/mail/mailboxes/alpha", &json!({"filter_mode": "whitelist"})),
        &|caller| caller.post("/api-keys", &json!({"label": "theirs", "scoped_identity_id": id})),
        &|caller| caller.post(&format!("{secret}/access"), &json!({"identity_id": id})),
        &|caller| caller.delete(&secret),
    ];
    for attempt in attempts {
        world.stores_nothing(|| attempt(&other).refused(404));
    }
    assert_eq!(admin.identity("alpha"), estate.identity);
}

#[test]
fn agents_of_another_organization_are_strangers_too() {
    let world = World::new();
    let estate = Estate::of(&world);
    let other = world.other_admin();
    let foreigner = text(&other.create("foreigner")["id"]);
    let foreigner = world.holder_of(&text(&other.mint("key", &foreigner)["api_key"]));
    assert_eq!(foreigner.handles(), ["foreigner"]);
    for (path, _) in estate.paths() {
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
