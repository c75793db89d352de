//! Lists of identities: who is listed, in which order, and with which spellings of a handle an identity is found.

use serde_json::{Value, json};

use crate::harness::{World, ids, viewers_of};

// Scenario 16.
#[test]
fn the_newest_comes_first_and_each_is_whole() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo, _] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("alpha", &bravo.id).created();
    let listed = admin.client().list_identities().unwrap();
    let handles: Vec<_> = listed.iter().map(|identity| identity.agent_handle.as_str()).collect();
    assert_eq!(handles, ["carol", "bravo", "alpha"]);
    assert!(listed.iter().all(|identity| identity.mailbox.is_some() && identity.tunnel.is_some()));
    let viewers: Vec<_> = listed.iter().map(|identity| identity.access.len()).collect();
    assert_eq!(viewers, [0, 0, 1]);
}

#[test]
fn an_element_of_the_list_is_the_single_answer() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    admin.create("bravo");
    admin.open("bravo");
    for caller in [&admin, &*alpha] {
        for element in caller.identities() {
            let handle = element["agent_handle"].as_str().unwrap();
            assert_eq!(caller.identity(handle), element);
        }
    }
}

#[test]
fn an_organization_without_identities_has_an_empty_list() {
    let world = World::new();
    assert_eq!(world.admin().get("/identities/").ok(), json!([]));
    assert!(world.admin().client().list_identities().unwrap().is_empty());
}

#[test]
fn a_change_does_not_move_an_identity_in_the_list() {
    let world = World::new();
    let admin = world.admin();
    world.agents(["alpha", "bravo"]);
    admin.change("alpha", &json!({"agent_handle": "zulu", "display_name": "Z"})).ok();
    assert_eq!(admin.handles(), ["bravo", "zulu"]);
}

// Decision D9.
#[test]
fn only_an_admin_is_shown_who_sees_whom() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    admin.grant("alpha", &bravo.id).created();
    admin.grant("bravo", &alpha.id).created();
    let listed = admin.identities();
    assert_eq!(viewers_of(listed[0]["access"].as_array().unwrap()), [json!(alpha.id)]);
    assert_eq!(viewers_of(admin.identity("alpha")["access"].as_array().unwrap()), [json!(bravo.id)]);
    for shown in alpha.identities() {
        assert_eq!(shown["access"], json!([]));
    }
    assert_eq!(alpha.identity("alpha")["access"], json!([]));
    assert_eq!(alpha.identity("bravo")["access"], json!([]));
}

// Scenario 18.
#[test]
fn a_handle_is_found_by_any_of_its_spellings() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    let found = admin.client().get_identity("@ALPHA").unwrap();
    assert_eq!(found.agent_handle(), "alpha");
    for spelling in ["alpha", "ALPHA", "@alpha", "%40Alpha", "%61lpha"] {
        assert_eq!(admin.identity(spelling), created, "{spelling}");
    }
}

#[test]
fn every_route_by_handle_takes_any_spelling() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo] = world.agents(["alpha", "bravo"]);
    admin.change("@ALPHA", &json!({"display_name": "A"})).ok();
    admin.grant("@ALPHA", &bravo.id).created();
    assert_eq!(admin.viewers("%40alpha"), [json!(bravo.id)]);
    admin.revoke("@Alpha", &bravo.id).no_content();
    admin.post("/phone/numbers", &json!({"agent_handle": "@Alpha"})).created();
    admin.delete("/identities/@ALPHA/phone_number").no_content();
    admin.remove("%40ALPHA");
    assert_eq!(admin.handles(), ["bravo"]);
}

#[test]
fn a_second_at_sign_belongs_to_no_handle() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for wrong in ["@@alpha", "alpha@", "%20alpha", "alpha%20", "al+pha", "alph%C3%A5"] {
        admin.try_identity(wrong).refused(404);
    }
}

// Scenario 49.
#[test]
fn both_collections_answer_with_and_without_a_slash() {
    let world = World::new();
    let admin = world.admin();
    admin.post("/identities", &json!({"agent_handle": "alpha"})).created();
    admin.post("/identities/", &json!({"agent_handle": "bravo"})).created();
    assert_eq!(admin.get("/identities").ok(), admin.get("/identities/").ok());
    assert_eq!(admin.get("/tunnels").ok(), admin.get("/tunnels/").ok());
    assert_eq!(admin.get("/identities").ok().as_array().map(Vec::len), Some(2));
}

// Section 0.2: some clients take a redirect for a success. The harness checks that no answer is one.
#[test]
fn no_path_redirects_whatever_its_slashes() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for path in [
        "/identities/alpha/",
        "/identities//",
        "/phone/numbers/",
        "/mail/mailboxes/",
        "/api-keys/",
        "/api/whoami/",
    ] {
        let answer = admin.get(path);
        assert!(matches!(answer.status, 200 | 404), "{answer}");
    }
}

#[test]
fn ids_are_unique_and_of_one_form() {
    let world = World::new();
    let admin = world.admin();
    world.agents(["alpha", "bravo", "carol"]);
    let listed = admin.identities();
    let parts = |part: &str| listed.iter().map(|identity| identity[part].clone()).collect::<Vec<Value>>();
    let mut all = [ids(&listed), ids(&parts("mailbox")), ids(&parts("tunnel"))].concat();
    assert!(all.iter().all(|id| uuid::Uuid::parse_str(id).is_ok()), "{all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 9);
}
