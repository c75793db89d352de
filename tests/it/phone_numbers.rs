//! Phone numbers: assigned to an identity, routed, and released.

use std::collections::BTreeSet;
use std::time::Duration;

use inkbox::phone::{FilterMode, SmsStatus};
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, NOBODY, Refusal, World, text};

fn route(caller: &Caller, id: &str, change: &Value) -> Answer {
    caller.patch(&format!("/phone/numbers/{id}"), change)
}

// Scenario 40.
#[test]
fn a_provisioned_number_is_there_on_the_next_read() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.client().create_identity("alpha").unwrap();
    let phone = identity.provision_phone_number("local", Some("NY")).unwrap();
    assert_eq!(phone.state.as_deref(), Some("NY"));
    assert_eq!(phone.agent_identity_id, Some(identity.id()));
    assert_eq!((phone.r#type.as_str(), phone.status.as_str()), ("local", "active"));
    assert_eq!(phone.sms_status, SmsStatus::Ready);
    assert_eq!(phone.incoming_call_action, "auto_reject");
    // A fictional number, which nobody can be called at.
    assert!(phone.number.starts_with("+1") && phone.number.len() == 12, "{}", phone.number);
    assert_eq!(&phone.number[5..10], "55501");
}

#[test]
fn a_number_looks_the_same_everywhere() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let provisioned = admin.provision("alpha");
    assert_eq!(admin.get(&format!("/phone/numbers/{}", text(&provisioned["id"]))).ok(), provisioned);
    assert_eq!(admin.list("/phone/numbers"), std::slice::from_ref(&provisioned));
    assert_eq!(alpha.list("/phone/numbers"), std::slice::from_ref(&provisioned));
    assert_eq!(admin.identity("alpha")["phone_number"], provisioned);
    for never_said in
        ["sms_error_code", "sms_error_detail", "client_websocket_url", "filter_mode_change_notice"]
    {
        assert_eq!(provisioned.get(never_said), Some(&Value::Null), "{never_said}");
    }
}

// Scenario 40 and decision D11.
#[test]
fn a_second_number_is_one_too_many() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.client().create_identity("alpha").unwrap();
    let first = identity.provision_phone_number("local", Some("NY")).unwrap();
    world.stores_nothing(|| identity.provision_phone_number("local", Some("CA")).refused(409));
    assert_eq!(admin.identity("alpha")["phone_number"]["id"], first.id.to_string());
}

// Scenario 40.
#[test]
fn what_cannot_be_provisioned_is_refused_at_its_place() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let provision = |further: Value| {
        let mut body = json!({"agent_handle": "alpha"});
        body.as_object_mut().unwrap().extend(further.as_object().cloned().unwrap());
        admin.post("/phone/numbers", &body)
    };
    let refused = |further: Value, field: &str| {
        world.stores_nothing(|| provision(further).invalid_at(&["body", field]));
    };
    refused(json!({"type": "toll_free"}), "type");
    refused(json!({"state": "New York"}), "state");
    refused(json!({"state": "N1"}), "state");
    refused(json!({"state": ""}), "state");
    refused(json!({"incoming_call_action": "shrug"}), "incoming_call_action");
    refused(json!({"filter_mode": "greylist"}), "filter_mode");
    world.stores_nothing(|| provision(json!({"incoming_call_action": "webhook"})).invalid_at(&["body"]));
    let url = "incoming_call_webhook_url";
    refused(json!({"incoming_call_action": "webhook", url: null}), url);
    world.stores_nothing(|| provision(json!({"state": "ZZ"})).refused(404));
    world.stores_nothing(|| admin.post("/phone/numbers", &json!({})).invalid_at(&["body", "agent_handle"]));
    provision(json!({"state": "ny"})).created();
}

#[test]
fn a_number_for_nobody_is_not_found() {
    let world = World::new();
    world.other_admin().create("foreigner");
    let admin = world.admin();
    for handle in ["nobody", "foreigner"] {
        let attempt = || admin.client().phone_numbers().provision(handle, "local", None);
        world.stores_nothing(|| attempt().refused(404));
    }
}

// Section 6.2.
#[test]
fn a_number_may_be_routed_and_filtered_as_it_is_provisioned() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let body = json!({
        "agent_handle": "@Alpha", "incoming_call_action": "webhook", "filter_mode": "whitelist",
        "incoming_call_webhook_url": "https://calls.example/alpha"
    });
    let phone = admin.post("/phone/numbers", &body).created();
    assert_eq!(phone["incoming_call_action"], "webhook");
    assert_eq!(phone["incoming_call_webhook_url"], "https://calls.example/alpha");
    assert_eq!(admin.identity("alpha")["phone_filter_mode"], "whitelist");
}

// Scenario 41 and decision D27.
#[test]
fn a_released_number_is_gone_and_takes_its_filter_along() {
    let world = World::new();
    let admin = world.admin();
    let identity = admin.client().create_identity("alpha").unwrap();
    let phone = identity.provision_phone_number("local", None).unwrap();
    admin.change("alpha", &json!({"phone_filter_mode": "whitelist"})).ok();
    identity.release_phone_number().unwrap();
    let after = admin.identity("alpha");
    assert_eq!((&after["phone_number"], &after["phone_filter_mode"]), (&Value::Null, &json!("blacklist")));
    admin.client().phone_numbers().get(&phone.id.to_string()).refused(404);
    assert!(admin.client().phone_numbers().list().unwrap().is_empty());
    world.stores_nothing(|| admin.client().identities().release_phone_number("alpha").refused(404));
}

#[test]
fn a_number_may_be_released_by_its_id() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let id = text(&admin.provision("alpha")["id"]);
    let numbers = admin.client().phone_numbers();
    numbers.release(&id).unwrap();
    assert_eq!(admin.identity("alpha")["phone_number"], Value::Null);
    world.stores_nothing(|| numbers.release(&id).refused(404));
    world.stores_nothing(|| admin.delete("/identities/alpha/phone_number").refused(404));
}

/// Provisions a number of Wyoming. Wyoming has one area code, so its numbers run out soon.
fn from_wyoming(admin: &Caller, handle: &str) -> Answer {
    admin.post("/phone/numbers", &json!({"agent_handle": handle, "state": "WY"}))
}

// Section 5: a released number is not assigned again for the time of the hold.
#[test]
fn a_released_number_does_not_come_back_while_it_rests() {
    let world = World::new();
    let admin = world.admin();
    let stock = world.database().number("select count(*) from phone_number_pool where state = 'WY'");
    let mut seen = BTreeSet::new();
    for place in 0..stock {
        let handle = format!("alpha-{place}");
        admin.create(&handle);
        let phone = from_wyoming(&admin, &handle).created();
        assert!(seen.insert(text(&phone["number"])), "{} came back", phone["number"]);
        admin.delete(&format!("/identities/{handle}/phone_number")).no_content();
    }
    assert!(!seen.is_empty());
    admin.create("last");
    from_wyoming(&admin, "last").refused(404);
}

// Section 5: the hold is zero here, so the number is free at once.
#[test]
fn a_number_that_has_rested_is_somebody_elses() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    world.database().execute("delete from phone_number_pool where state <> 'WY' or number <> (select min(number) from phone_number_pool where state = 'WY')");
    for handle in ["alpha", "bravo"] {
        admin.create(handle);
    }
    let number = from_wyoming(&admin, "alpha").created()["number"].clone();
    from_wyoming(&admin, "bravo").refused(404);
    admin.delete("/identities/alpha/phone_number").no_content();
    assert_eq!(from_wyoming(&admin, "bravo").created()["number"], number);
    // A deleted identity releases its number, too.
    admin.remove("bravo");
    assert_eq!(from_wyoming(&admin, "alpha").created()["number"], number);
}

// Decision D25.
#[test]
fn there_are_numbers_for_every_state() {
    let world = World::new();
    let states = world.database().number("select count(distinct state) from phone_number_pool");
    assert!(states >= 50, "only {states} states have numbers");
}

// Scenario 42.
#[test]
fn the_route_of_calls_is_judged_by_what_results() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let id = text(&admin.provision("alpha")["id"]);
    let numbers = admin.client().phone_numbers();
    let hook = "https://calls.example/alpha";
    world.stores_nothing(|| numbers.update(&id, Some(Some("webhook")), None, None, None).invalid());
    let hooked = numbers.update(&id, Some(Some("webhook")), Some(None), Some(Some(hook)), None).unwrap();
    assert_eq!((hooked.incoming_call_action.as_str(), hooked.client_websocket_url), ("webhook", None));
    assert_eq!(hooked.incoming_call_webhook_url.as_deref(), Some(hook));
    world.stores_nothing(|| numbers.update(&id, None, None, Some(None), None).invalid());
    let kept = numbers.update(&id, Some(Some("hosted_agent")), None, None, None).unwrap();
    assert_eq!(kept.incoming_call_webhook_url.as_deref(), Some(hook), "what is not named stays");
    let cleared = numbers.update(&id, None, None, Some(None), None).unwrap();
    assert_eq!(cleared.incoming_call_webhook_url, None);
    assert_eq!(numbers.get(&id).unwrap().incoming_call_action, "hosted_agent");
}

#[test]
fn calls_are_only_sent_where_nobody_listens_in() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let id = text(&admin.provision("alpha")["id"]);
    let refused = |field: &str, url: &str| {
        world.stores_nothing(|| route(&admin, &id, &json!({field: url})).invalid_at(&["body", field]));
    };
    for url in ["http://calls.example", "wss://calls.example", "calls.example", ""] {
        refused("incoming_call_webhook_url", url);
    }
    for url in ["ws://calls.example", "https://calls.example", "calls.example", ""] {
        refused("client_websocket_url", url);
    }
    world.stores_nothing(|| {
        route(&admin, &id, &json!({"incoming_call_action": "auto_accept"})).invalid_at(&["body"])
    });
    let accepting =
        json!({"incoming_call_action": "auto_accept", "client_websocket_url": "wss://calls.example"});
    assert_eq!(route(&admin, &id, &accepting).ok()["client_websocket_url"], "wss://calls.example");
}

// Scenario 42.
#[test]
fn a_change_of_filter_is_noticed_once() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let id = text(&admin.provision("alpha")["id"]);
    let numbers = admin.client().phone_numbers();
    let flip = |mode| numbers.update(&id, None, None, None, Some(mode)).unwrap().filter_mode_change_notice;
    let notice = flip(FilterMode::Whitelist).unwrap();
    assert_eq!(notice.new_filter_mode, FilterMode::Whitelist);
    assert_eq!((notice.redundant_rule_action.as_str(), notice.redundant_rule_count), ("block", 0));
    assert!(numbers.get(&id).unwrap().filter_mode_change_notice.is_none());
    assert!(world.stores_nothing(|| flip(FilterMode::Whitelist)).is_none());
    assert_eq!(flip(FilterMode::Blacklist).unwrap().redundant_rule_action, "allow");
}

#[test]
fn nothing_to_change_leaves_the_number_untouched() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let phone = admin.provision("alpha");
    let same = json!({"incoming_call_action": "auto_reject", "client_websocket_url": null});
    for change in [json!({}), same] {
        let answer = || route(&admin, &text(&phone["id"]), &change).ok();
        assert_eq!(world.stores_nothing(answer), phone);
    }
}

// Scenario 42.
#[test]
fn an_agent_routes_its_own_calls_but_does_not_filter_them() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let own = text(&admin.provision("alpha")["id"]);
    let numbers = alpha.client().phone_numbers();
    let filter = || numbers.update(&own, None, None, None, Some(FilterMode::Whitelist));
    world.stores_nothing(|| filter().refused(403));
    let routed = numbers.update(&own, Some(Some("hosted_agent")), None, None, None).unwrap();
    assert_eq!(routed.incoming_call_action, "hosted_agent");
}

// Section 6.1.
#[test]
fn an_agent_is_shown_no_number_but_its_own() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    admin.open("bravo");
    let foreign = text(&admin.provision("bravo")["id"]);
    assert!(alpha.list("/phone/numbers").is_empty());
    alpha.client().phone_numbers().get(&foreign).refused(404);
    admin.provision("alpha");
    assert_eq!(alpha.list("/phone/numbers").len(), 1);
    let newest_first: Vec<_> =
        admin.list("/phone/numbers").iter().map(|phone| text(&phone["agent_identity_id"])).collect();
    assert_eq!(newest_first, [alpha.id.clone(), bravo.id]);
}

#[test]
fn unknown_and_malformed_ids_of_numbers() {
    let world = World::new();
    let admin = world.admin();
    let numbers = admin.client().phone_numbers();
    numbers.get(NOBODY).refused(404);
    numbers.get("nonsense").invalid();
    numbers.update(NOBODY, None, None, None, None).refused(404);
    numbers.update("nonsense", None, None, None, None).invalid();
    numbers.release(NOBODY).refused(404);
    admin.delete("/phone/numbers/nonsense").invalid_at(&["path"]);
}
