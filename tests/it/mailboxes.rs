//! Mailboxes: looked up by address or by local part, with one setting.

use inkbox::mail::FilterMode;
use serde_json::{Value, json};

use crate::harness::{Refusal, World, text};

const ADDRESS: &str = "alpha@agents.localhost";

// Scenario 46.
#[test]
fn a_mailbox_is_found_by_address_and_by_local_part() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.client().create_identity("alpha").unwrap();
    let mailboxes = admin.client().mailboxes();
    let found = mailboxes.get(ADDRESS).unwrap();
    assert_eq!(found.id, identity.mailbox().unwrap().id);
    assert_eq!((found.email_address.as_str(), found.sending_domain.as_str()), (ADDRESS, "agents.localhost"));
    assert_eq!(found.agent_identity_id, Some(identity.id()));
    assert_eq!(mailboxes.get("alpha").unwrap().id, found.id);
}

// Scenario 46.
#[test]
fn every_spelling_of_the_address_is_the_same_mailbox() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let found = admin.get(&format!("/mail/mailboxes/{ADDRESS}")).ok();
    for spelling in ["alpha", "ALPHA", "Alpha@Agents.LOCALHOST", "alpha%40agents.localhost"] {
        assert_eq!(admin.get(&format!("/mail/mailboxes/{spelling}")).ok(), found, "{spelling}");
    }
    assert!(found["storage_used_bytes"].is_u64());
    assert!(found.get("storage_limit_bytes").is_some_and(|limit| limit.is_null() || limit.is_u64()));
    assert_eq!(found.get("filter_mode_change_notice"), Some(&Value::Null));
}

// Section 0.3: a plus sign in a path is a plus sign.
#[test]
fn a_plus_sign_is_no_space() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for nobody in ["alpha+tag@agents.localhost", "alpha%2Btag", "alpha+", "al+pha", "alpha@elsewhere.example"]
    {
        admin.get(&format!("/mail/mailboxes/{nobody}")).refused(404);
    }
}

#[test]
fn the_embedded_mailbox_is_the_full_one_without_its_storage() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    let full = admin.get("/mail/mailboxes/alpha").ok();
    for (name, value) in created["mailbox"].as_object().unwrap() {
        assert_eq!(&full[name], value, "{name}");
    }
}

#[test]
fn the_newest_mailbox_is_listed_first() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, _] = world.agents(["alpha", "bravo", "carol"]);
    admin.remove("bravo");
    let addresses =
        |list: Vec<Value>| -> Vec<_> { list.iter().map(|mailbox| text(&mailbox["email_address"])).collect() };
    assert_eq!(addresses(admin.list("/mail/mailboxes")), ["carol@agents.localhost", ADDRESS]);
    assert_eq!(addresses(alpha.list("/mail/mailboxes")), [ADDRESS]);
    assert_eq!(admin.list("/mail/mailboxes")[1], admin.get("/mail/mailboxes/alpha").ok());
}

#[test]
fn an_agent_is_shown_no_mailbox_but_its_own() {
    let world = World::new();
    let alpha = world.agent("alpha");
    world.admin().create("bravo");
    world.admin().open("bravo");
    assert_eq!(alpha.client().mailboxes().list().unwrap().len(), 1);
    alpha.client().mailboxes().get(ADDRESS).unwrap();
    alpha.client().mailboxes().get("bravo@agents.localhost").refused(404);
}

#[test]
fn a_change_of_filter_is_noticed_once() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let mailboxes = admin.client().mailboxes();
    let flip = |mode| mailboxes.update(ADDRESS, Some(mode)).unwrap().filter_mode_change_notice;
    let notice = flip(FilterMode::Whitelist).unwrap();
    assert!(matches!(notice.new_filter_mode, FilterMode::Whitelist));
    assert_eq!((notice.redundant_rule_action.as_str(), notice.redundant_rule_count), ("block", 0));
    assert!(mailboxes.get(ADDRESS).unwrap().filter_mode_change_notice.is_none());
    assert!(mailboxes.list().unwrap()[0].filter_mode_change_notice.is_none());
    assert!(world.stores_nothing(|| flip(FilterMode::Whitelist)).is_none());
    assert_eq!(flip(FilterMode::Blacklist).unwrap().redundant_rule_action, "allow");
}

#[test]
fn nothing_to_change_changes_nothing() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let before = admin.get("/mail/mailboxes/alpha").ok();
    world.stores_nothing(|| admin.client().mailboxes().update(ADDRESS, None).unwrap());
    assert_eq!(admin.patch("/mail/mailboxes/alpha", &json!({})).ok(), before);
}

#[test]
fn only_an_admin_filters_mail() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let filter = || alpha.client().mailboxes().update(ADDRESS, Some(FilterMode::Whitelist));
    world.stores_nothing(|| filter().refused(403));
}

// Scenario 46 and decision D16.
#[test]
fn a_mailbox_has_no_other_setting() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for field in ["display_name", "webhook_url", "email_address", "unknown"] {
        let attempt =
            || admin.patch("/mail/mailboxes/alpha", &json!({field: "x", "filter_mode": "whitelist"}));
        let fault = world.stores_nothing(|| attempt().invalid_at(&["body", field]));
        assert_eq!(fault["type"], "extra_forbidden");
    }
    // The error says where a display name can be set.
    let fault = admin
        .patch("/mail/mailboxes/alpha", &json!({"display_name": "A"}))
        .invalid_at(&["body", "display_name"]);
    assert!(text(&fault["msg"]).contains("identit"), "{fault}");
}

#[test]
fn an_unknown_mailbox_is_not_found() {
    let world = World::new();
    let admin = world.admin();
    admin.client().mailboxes().get("nobody@agents.localhost").refused(404);
    admin.client().mailboxes().update("nobody", Some(FilterMode::Whitelist)).refused(404);
}
