//! A deleted identity: everything that it owned is deleted, and so are all rows that name it.

use inkbox::identities::BlockingNamespace;
use serde_json::{Value, json};

use crate::harness::{Caller, Refusal, Wish, World, text};

/// An identity with a phone number, a key, and access rows in both directions.
fn with_everything(world: &World) -> Value {
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    admin.provision("alpha");
    admin.grant("alpha", &bravo.id).created();
    admin.grant("bravo", &alpha.id).created();
    let created = admin.identity("alpha");
    admin.client().get_identity("alpha").unwrap().delete().unwrap();
    created
}

// Scenario 38.
#[test]
fn the_handle_is_nobody_on_every_route() {
    let world = World::new();
    let admin = world.admin();
    let viewer = world.agent("carol").id;
    with_everything(&world);
    assert_eq!(admin.handles(), ["bravo", "carol"]);
    admin.client().identities().get("alpha").refused(404);
    admin.change("alpha", &json!({"display_name": "A"})).refused(404);
    admin.delete("/identities/alpha").refused(404);
    admin.delete("/identities/alpha/phone_number").refused(404);
    admin.get("/identities/alpha/access").refused(404);
    admin.grant("alpha", &viewer).refused(404);
    admin.revoke("alpha", &viewer).refused(404);
    admin.post("/phone/numbers", &json!({"agent_handle": "alpha"})).refused(404);
}

// Scenario 38.
#[test]
fn mailbox_tunnel_and_phone_are_gone() {
    let world = World::new();
    let admin = world.admin();
    let was = with_everything(&world);
    let client = admin.client();
    client.mailboxes().get("alpha@agents.localhost").refused(404);
    client.mailboxes().get("alpha").refused(404);
    client.tunnels().get(&text(&was["tunnel"]["id"])).refused(404);
    client.phone_numbers().get(&text(&was["phone_number"]["id"])).refused(404);
    let addresses: Vec<_> =
        client.mailboxes().list().unwrap().into_iter().map(|mailbox| mailbox.email_address).collect();
    assert_eq!(addresses, ["bravo@agents.localhost"]);
    assert_eq!(client.tunnels().list().unwrap().len(), 1);
    assert!(client.phone_numbers().list().unwrap().is_empty());
    admin.patch(&format!("/tunnels/{}", text(&was["tunnel"]["id"])), &json!({})).refused(404);
    admin.patch("/mail/mailboxes/alpha", &json!({})).refused(404);
}

// Scenario 38.
#[test]
fn its_keys_are_dead() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let second = world.admin().mint("second", &alpha.id);
    let second = world.holder_of(&text(&second["api_key"]));
    assert!(second.sees("alpha"));
    world.admin().remove("alpha");
    alpha.client().list_identities().refused(401);
    alpha.client().whoami().refused(401);
    second.try_identity("alpha").refused(401);
}

// Scenario 38 and decision D26.
#[test]
fn no_row_names_it_any_more() {
    let world = World::new();
    let admin = world.admin();
    with_everything(&world);
    assert_eq!(admin.viewers("bravo"), Vec::<Value>::new());
    assert_eq!(admin.identity("bravo")["access"], json!([]));
    assert_eq!(admin.identities()[0]["access"], json!([]));
}

// Scenario 39 and decision D2.
#[test]
fn its_handle_stays_reserved_everywhere() {
    let world = World::new();
    with_everything(&world);
    for admin in [world.admin(), world.other_admin()] {
        let attempt = || Wish::default().create(admin.client(), "alpha");
        world.stores_nothing(|| attempt().handle_unavailable(BlockingNamespace::Identities));
    }
}

#[test]
fn one_dies_only_once() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.remove("alpha");
    let again = || admin.client().identities().delete("alpha");
    world.stores_nothing(|| again().refused(404));
}

// Decision D6.
#[test]
fn an_agent_deletes_nobody_not_even_itself() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, _] = world.agents(["alpha", "bravo", "carol"]);
    admin.open("bravo");
    let delete = |caller: &Caller, handle: &str| caller.delete(&format!("/identities/{handle}"));
    world.stores_nothing(|| delete(&alpha, "alpha").refused(403));
    world.stores_nothing(|| delete(&alpha, "bravo").refused(403));
    world.stores_nothing(|| delete(&alpha, "carol").refused(404));
    assert_eq!(admin.handles(), ["carol", "bravo", "alpha"]);
}
