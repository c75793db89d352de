//! A rename changes the handle and the tunnel, and nothing else.

use inkbox::identities::BlockingNamespace;
use serde_json::{Value, json};

use crate::harness::{Change, Refusal, World, text};

fn to(handle: &str) -> Change<'_> {
    Change { handle: Some(handle), ..Change::default() }
}

// Scenario 21 and decision D10.
#[test]
fn tunnel_and_host_follow_while_id_mailbox_and_access_stay() {
    let world = World::new();
    let admin = world.admin();
    let [_, bravo] = world.agents(["alpha", "bravo"]);
    admin.grant("alpha", &bravo.id).created();
    let before = admin.identity("alpha");
    let renamed = to("@Alpha-2").apply(admin.client(), "alpha").unwrap();
    let tunnel = renamed.tunnel.clone().unwrap();
    assert_eq!(renamed.agent_handle, "alpha-2");
    assert_eq!(
        (tunnel.tunnel_name.as_str(), tunnel.public_host.as_str()),
        ("alpha-2", "alpha-2.tunnels.localhost")
    );
    let after = admin.identity("alpha-2");
    for kept in
        ["/id", "/email_address", "/mailbox/id", "/tunnel/id", "/access", "/created_at", "/display_name"]
    {
        assert_eq!(after.pointer(kept), before.pointer(kept), "{kept} changed");
    }
    assert!(bravo.sees("alpha-2"));
}

#[test]
fn the_old_handle_is_nobody_at_once() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    to("alpha-2").apply(admin.client(), "alpha").unwrap();
    admin.client().identities().get("alpha").refused(404);
    admin.change("alpha", &json!({})).refused(404);
    admin.delete("/identities/alpha").refused(404);
    admin.get("/identities/alpha/access").refused(404);
    assert_eq!(admin.handles(), ["alpha-2"]);
}

#[test]
fn the_full_tunnel_and_the_mailbox_tell_the_same_story() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    admin.change("alpha", &json!({"agent_handle": "alpha-2"})).ok();
    let tunnel = admin.client().tunnels().get(&text(&created["tunnel"]["id"])).unwrap();
    assert_eq!(
        (tunnel.tunnel_name.as_str(), tunnel.public_host.as_str()),
        ("alpha-2", "alpha-2.tunnels.localhost")
    );
    let mailbox = admin.client().mailboxes().get("alpha@agents.localhost").unwrap();
    assert_eq!(mailbox.id.to_string(), text(&created["mailbox"]["id"]));
}

// Scenario 22.
#[test]
fn a_taken_handle_stops_the_whole_change() {
    let world = World::new();
    let admin = world.admin();
    let before = admin.create("alpha");
    admin.create("bravo");
    let attempt = || to("bravo").apply(admin.client(), "alpha");
    world.stores_nothing(|| attempt().handle_unavailable(BlockingNamespace::Identities));
    let mixed = json!({"agent_handle": "bravo", "display_name": "B", "imessage_enabled": true});
    world.stores_nothing(|| admin.change("alpha", &mixed).handle_unavailable("identities"));
    assert_eq!(admin.identity("alpha"), before);
}

#[test]
fn a_handle_taken_by_another_organization_is_taken() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    world.other_admin().create("bravo");
    let attempt = || to("bravo").apply(admin.client(), "alpha");
    world.stores_nothing(|| attempt().handle_unavailable(BlockingNamespace::Identities));
}

#[test]
fn a_new_handle_obeys_the_rules_of_handles() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for wrong in ["ab", "a--b", "-ab", "ab-", "a_b", "@@ab", "", " alpha2", &"a".repeat(64)] {
        let attempt = || admin.change("alpha", &json!({"agent_handle": wrong}));
        world.stores_nothing(|| attempt().invalid_at(&["body", "agent_handle"]));
    }
    world.stores_nothing(|| {
        to("ad-min").apply(admin.client(), "alpha").handle_unavailable(BlockingNamespace::Identities);
    });
}

#[test]
fn several_changes_in_one_request_are_one_change() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let change = json!({
        "agent_handle": "bravo", "display_name": null, "description": "d", "mail_filter_mode": "whitelist"
    });
    let changed = admin.change("alpha", &change).ok();
    assert_eq!(changed["agent_handle"], "bravo");
    assert_eq!(changed["display_name"], Value::Null);
    assert_eq!(changed["description"], "d");
    assert_eq!(changed["mailbox"]["filter_mode"], "whitelist");
    assert_eq!(admin.identity("bravo"), changed);
}
