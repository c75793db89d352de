//! What an update changes, and that it changes nothing else.

use inkbox::identities::Unset;
use inkbox::mail::FilterMode;
use serde_json::{Value, json};

use crate::harness::{Caller, Change, Refusal, World, text};

// Scenario 19.
#[test]
fn null_clears_and_silence_keeps() {
    let world = World::new();
    let admin = world.admin();
    admin.try_create("alpha", json!({"display_name": "Alpha", "description": "first"})).created();
    let client = admin.client();
    let cleared =
        Change { display_name: Unset::Value(None), ..Change::default() }.apply(client, "alpha").unwrap();
    assert_eq!((cleared.display_name.as_deref(), cleared.description.as_deref()), (None, Some("first")));
    let cleared =
        Change { description: Unset::Value(None), ..Change::default() }.apply(client, "alpha").unwrap();
    assert_eq!((cleared.display_name, cleared.description), (None, None));
}

#[test]
fn each_field_changes_alone() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.provision("alpha");
    let fields = [
        json!({"display_name": "Alpha"}),
        json!({"description": ""}),
        json!({"imessage_enabled": true}),
        json!({"imessage_filter_mode": "whitelist"}),
        json!({"status": "paused"}),
    ];
    for change in fields {
        let mut expected = admin.identity("alpha");
        let changed = admin.change("alpha", &change).ok();
        let members = expected.as_object_mut().unwrap();
        members.extend(change.as_object().cloned().unwrap());
        // Section 3.3.1: if iMessage has another mode than the phone, the modes by direction are not shown.
        if change.get("imessage_filter_mode").is_some() {
            members.retain(|name, _| {
                !["phone_inbound_filter_mode", "phone_outbound_filter_mode"].contains(&&**name)
            });
        }
        assert_ne!(changed["updated_at"], expected["updated_at"], "{change} took no time");
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected, "{change} changed more than it says");
        assert_eq!(admin.identity("alpha"), changed);
    }
}

// Scenario 20 and decision D19.
#[test]
fn nothing_to_change_changes_nothing() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.try_create("alpha", json!({"display_name": "Alpha", "description": ""})).created();
    let unchanged = Change::default().apply(admin.client(), "alpha").unwrap();
    assert_eq!(unchanged.updated_at, text(&created["updated_at"]));
    let same = [
        json!({}),
        json!({"display_name": "Alpha"}),
        json!({"description": ""}),
        json!({"agent_handle": "@ALPHA"}),
        json!({"imessage_enabled": false, "mail_filter_mode": "blacklist", "status": "active"}),
        json!({"imessage_number_id": null}),
    ];
    for change in same {
        let unchanged = world.stores_nothing(|| admin.change("alpha", &change).ok());
        assert_eq!(unchanged, created, "{change}");
    }
}

// Decision D16.
#[test]
fn fields_of_other_versions_are_ignored() {
    let world = World::new();
    let admin = world.admin();
    let created = admin.create("alpha");
    assert_eq!(admin.change("alpha", &json!({"favourite_colour": "blue", "id": 7})).ok(), created);
}

// Decision D16.
#[test]
fn fields_that_only_newer_clients_send_are_not_ignored() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    admin.provision("alpha");
    for field in ["slack_filter_mode", "slack_inbound_filter_mode", "slack_outbound_filter_mode"] {
        let change = json!({field: "whitelist", "display_name": "B"});
        world.stores_nothing(|| alpha.change("alpha", &change).refused(403));
        world.stores_nothing(|| admin.change("alpha", &change).invalid_at(&["body", field]));
    }
}

// Contract, section 3.3.
#[test]
fn a_claim_of_an_imessage_number_is_a_wish_for_its_only_type() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let claim = |caller: &Caller, body: &Value| {
        let call = caller.call(reqwest::Method::PATCH, "/identities/alpha");
        world.stores_nothing(|| call.header("Idempotency-Key", "claim-1").json(body).send())
    };
    let body = json!({"claim_imessage_number": true});
    let pending = "dedicated_imessage_number_inventory_pending";
    assert_eq!(claim(&admin, &body).refused_as(503, pending)["number_type"], "dedicated_outbound");
    claim(&alpha, &body).refused(403);
    admin.change("alpha", &body).invalid_at(&["header", "idempotency-key"]);
    for other in [
        json!({"imessage_number_id": null}),
        json!({"imessage_enabled": false}),
        json!({"imessage_number_type": "dedicated_outbound"}),
        json!({"claim_imessage_number": false}),
    ] {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(other.as_object().cloned().unwrap());
        claim(&admin, &body).invalid_at(&["body", "claim_imessage_number"]);
    }
    let create = |wish| world.stores_nothing(|| admin.try_create("bravo", wish));
    create(json!({"claim_imessage_number": true})).invalid_at(&["body", "claim_imessage_number"]);
    create(json!({"claim_imessage_number": true, "imessage_enabled": true})).refused_as(503, pending);
}

// Scenario 23 and decision D15.
#[test]
fn the_mail_filter_is_one_value_behind_two_doors() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let whitelist = || Change { mail_filter_mode: Some("whitelist"), ..Change::default() };
    world.stores_nothing(|| whitelist().apply(alpha.client(), "alpha").refused(403));
    let changed = whitelist().apply(admin.client(), "alpha").unwrap();
    assert_eq!(changed.mail_filter_mode, FilterMode::Whitelist);
    let mailbox = changed.mailbox.unwrap();
    assert_eq!(mailbox.filter_mode, FilterMode::Whitelist);
    assert!(mailbox.filter_mode_change_notice.is_none());
    let address = "alpha@agents.localhost";
    assert_eq!(admin.client().mailboxes().get(address).unwrap().filter_mode, FilterMode::Whitelist);
    admin.client().mailboxes().update(address, Some(FilterMode::Blacklist)).unwrap();
    assert_eq!(admin.identity("alpha")["mail_filter_mode"], "blacklist");
}

// Decision D15 for the phone.
#[test]
fn the_phone_filter_is_one_value_behind_two_doors() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let id = text(&admin.provision("alpha")["id"]);
    let changed = admin.change("alpha", &json!({"phone_filter_mode": "whitelist"})).ok();
    assert_eq!(changed["phone_number"]["filter_mode"], "whitelist");
    assert_eq!(changed["phone_number"]["filter_mode_change_notice"], Value::Null);
    assert_eq!(admin.get(&format!("/phone/numbers/{id}")).ok()["filter_mode"], "whitelist");
    admin.patch(&format!("/phone/numbers/{id}"), &json!({"filter_mode": "blacklist"})).ok();
    assert_eq!(admin.identity("alpha")["phone_filter_mode"], "blacklist");
}

// Scenario 24.
#[test]
fn the_phone_filter_needs_a_phone() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let change = Change { phone_filter_mode: Some("whitelist"), ..Change::default() };
    world.stores_nothing(|| change.apply(admin.client(), "alpha").invalid());
    // If one field is refused, nothing is changed.
    let mixed = json!({"display_name": "Alpha", "phone_filter_mode": "whitelist"});
    world.stores_nothing(|| admin.change("alpha", &mixed).invalid_at(&["body", "phone_filter_mode"]));
}

// Decision D6.
#[test]
fn an_agent_may_change_how_it_appears_and_no_more() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let allowed = json!({"display_name": "A", "description": "mine", "imessage_enabled": true});
    let changed = alpha.change("alpha", &allowed).ok();
    assert_eq!((&changed["display_name"], &changed["description"]), (&json!("A"), &json!("mine")));
    for mode in ["imessage_filter_mode", "mail_filter_mode", "phone_filter_mode"] {
        let change = json!({mode: "whitelist", "display_name": "B"});
        world.stores_nothing(|| alpha.change("alpha", &change).refused(403));
    }
    let renamed =
        Change { handle: Some("alpha-2"), ..Change::default() }.apply(alpha.client(), "alpha").unwrap();
    assert_eq!(renamed.agent_handle, "alpha-2");
    assert!(alpha.sees("alpha-2"), "the key follows its identity");
}

#[test]
fn a_dedicated_imessage_number_can_be_claimed_later_if_there_is_one() {
    let world = World::new();
    let admin = world.admin();
    admin.try_create("alpha", json!({"imessage_enabled": true})).created();
    let claim = |caller: &Caller| {
        caller
            .call(reqwest::Method::PATCH, "/identities/alpha")
            .header("Idempotency-Key", "claim-1")
            .json(&json!({"imessage_number_type": "dedicated_outbound"}))
            .send()
    };
    let answer = world.stores_nothing(|| claim(&admin));
    assert!(answer.headers.contains_key("retry-after"), "{answer}");
    let detail = answer.refused_as(503, "dedicated_imessage_number_inventory_pending");
    assert_eq!(detail["number_type"], "dedicated_outbound");
    assert!(detail["retry_after_seconds"].is_u64());
}
