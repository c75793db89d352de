//! What is sent, to whom, and how often.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity_webhooks::address::{Policy, SystemResolver};
use identity_webhooks::schedule::Schedule;
use identity_webhooks::{LogLimits, Settings, WaitingLimits};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sqlx::Connection as _;
use standardwebhooks::Webhook;

use super::receiver::{Reaction, Received, Receiver};
use super::{PATH, disable, path_of, refused, subscribe};
use crate::harness::{Caller, World, eventually, text, wait};

pub(super) const DELIVERIES: &str = "/webhooks/deliveries";

/// Settings under which this machine may be reached, and nothing is waited for.
pub(super) fn settings() -> Settings {
    Settings {
        policy: Policy { allows_loopback: true, ..Policy::default() },
        schedule: Schedule { delays: vec![Duration::from_millis(1); 9], ..Schedule::default() },
        timeout: Duration::from_secs(30),
        retention: Duration::from_hours(24),
        log: LogLimits::default(),
        waiting: WaitingLimits::default(),
        resolver: Arc::new(SystemResolver::default()),
        authorities: vec![],
    }
}

/// A subscription of an identity. Its first one brings a signing key, which is an update of the identity.
pub(super) fn listen(caller: &Caller, identity: &str, receiver: &Receiver, types: &[&str]) -> Value {
    let body = json!({ "agent_identity_id": identity, "url": receiver.url(), "event_types": types });
    subscribe(caller, &body)
}

pub(super) fn deliveries(caller: &Caller, query: &str) -> Vec<Value> {
    let answer = caller.get(&format!("{DELIVERIES}{query}")).ok();
    answer["deliveries"].as_array().unwrap().clone()
}

#[track_caller]
pub(super) fn eventually_delivered(caller: &Caller, count: usize) -> Vec<Value> {
    eventually(&format!("{count} deliveries are listed"), || deliveries(caller, "").len() >= count);
    deliveries(caller, "")
}

fn describe(admin: &Caller, handle: &str, text: &str) {
    admin.change(handle, &json!({ "description": text })).ok();
}

pub(super) fn hold_signatures(arrived: &Received, key: &str) {
    let headers: HashMap<String, String> = arrived.headers.iter().cloned().collect();
    let other = [&arrived.body[..], b" "].concat();
    assert!(inkbox::signing_keys::verify_webhook(&arrived.body, &headers, key).unwrap());
    assert!(!inkbox::signing_keys::verify_webhook(&other, &headers, key).unwrap());
    let headers = arrived.headers.iter().map(|(name, value)| {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        (name, value.parse().unwrap())
    });
    let (headers, webhook) = (headers.collect::<HeaderMap>(), Webhook::new(key).unwrap());
    webhook.verify(&arrived.body, &headers).unwrap();
    webhook.verify(&other, &headers).unwrap_err();
}

#[test]
fn a_change_is_sent_signed_with_the_present_identity() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let mut body =
        json!({ "agent_identity_id": alpha.id, "url": receiver.url(), "event_types": ["identity.updated"] });
    body["auth_token"] = json!("let-me-in");
    let subscription = subscribe(&alpha, &body);
    receiver.wait_for(1);
    describe(&world.admin(), "alpha", "desk");
    let arrived = receiver.wait_for(2).pop().unwrap();
    hold_signatures(&arrived, &text(&subscription["signing_key"]));
    assert_eq!(arrived.header("authorization"), "Bearer let-me-in");
    let payload = arrived.json();
    assert_eq!(arrived.header("webhook-id"), text(&payload["id"]));
    assert_eq!(payload["event_type"], "identity.updated");
    assert_eq!(payload["data"]["identity"], alpha.identity("alpha"));
    assert_eq!(payload["data"]["agent_identities"][0]["agent_handle"], "alpha");
    let event = &payload["data"]["event"];
    assert_eq!(
        (&event["event_type"], &event["identity_id"]),
        (&json!("identity.description_changed"), &json!(alpha.id))
    );
    let listed = &eventually_delivered(&alpha, 2)[0];
    assert_eq!(listed["id"], arrived.header("x-inkbox-request-id"));
    assert_eq!(text(&listed["request_payload"]).as_bytes(), arrived.body);
    assert_eq!((&listed["response_status"], &listed["response_body"]), (&json!(200), &json!("said")));
}

// Scenario 58.
#[test]
fn what_fails_is_sent_again_under_the_same_id_until_it_succeeds() {
    let world = World::with_webhooks(settings());
    let receiver = Receiver::reacting(|number, _| Reaction::Status(if number < 2 { 500 } else { 200 }));
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let listed = eventually_delivered(&alpha, 3);
    let statuses: Vec<&Value> = listed.iter().map(|one| &one["response_status"]).collect();
    assert_eq!(statuses, [200, 500, 500]);
    let ids: BTreeSet<String> = listed.iter().map(|one| text(&one["event_id"])).collect();
    assert_eq!(ids.len(), 1);
    let own: BTreeSet<String> = listed.iter().map(|one| text(&one["id"])).collect();
    assert_eq!(own.len(), 3);
    assert_eq!(deliveries(&alpha, "?success=true").len(), 1);
    assert_eq!(deliveries(&alpha, "?success=false&limit=1").len(), 1);
    assert_eq!(deliveries(&alpha, "?event_type=identity.deleted").len(), 0);
    let metrics = world.stranger().metrics();
    metrics.has("identityd_webhook_attempts_total{outcome=\"failed\"}", 2.0);
    metrics.has("identityd_webhook_attempts_total{outcome=\"delivered\"}", 1.0);
    metrics.has("identityd_webhooks_waiting", 0.0);
    metrics.has("identityd_webhooks_oldest_seconds", 0.0);
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_history_says_so() {
    let (world, receiver) =
        (World::with_webhooks(settings()), Receiver::reacting(|_, _| Reaction::Status(410)));
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let disabled = || alpha.get(&path_of(&subscription)).ok()["disabled_reason"].clone();
    eventually("the subscription is disabled", || disabled() == "gone");
    let events = admin.get("/events?event_type=webhook_subscription.disabled").ok();
    assert_eq!(events["events"][0]["metadata"]["actor_kind"], "service");
    fanned_out(&world);
    assert_eq!(world.database().number("select count(*) from webhook_queue"), 0);
    describe(&admin, "alpha", "nobody is told");
    let other = Receiver::new();
    alpha.patch(&path_of(&subscription), &json!({ "url": other.url() })).ok();
    describe(&admin, "alpha", "somebody is told");
    let told = other.wait_for(1);
    assert_eq!(told[0].json()["data"]["identity"]["description"], "somebody is told");
    assert_eq!(receiver.received().len(), 1);
    world.stranger().metrics().has("identityd_webhook_attempts_total{outcome=\"gone\"}", 1.0);
}

#[test]
fn an_address_that_was_left_disables_nothing() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (closed, passed) = (gate.lock().unwrap(), Arc::clone(&gate));
    let left = Receiver::reacting(move |_, _| {
        drop(passed.lock());
        Reaction::Status(410)
    });
    let (alpha, present) = (world.agent("alpha"), Receiver::new());
    let subscription = listen(&alpha, &alpha.id, &left, &["identity.updated"]);
    left.wait_for(1);
    alpha.patch(&path_of(&subscription), &json!({ "url": present.url() })).ok();
    drop(closed);
    eventually_delivered(&alpha, 1);
    describe(&world.admin(), "alpha", "desk");
    let mut told: Vec<Value> = present.wait_for(2).iter().map(Received::json).collect();
    told.sort_by_key(|event| event["data"]["event"]["sequence"].as_i64());
    let told: Vec<&Value> = told.iter().map(|event| &event["data"]["event"]["event_type"]).collect();
    assert_eq!(told, ["identity.signing_key_set", "identity.description_changed"]);
    let events = world.admin().get("/events?event_type=webhook_subscription.disabled").ok();
    assert_eq!(events["events"], json!([]));
}

// Scenario 60.
#[test]
fn a_delivery_is_sent_again_to_the_present_address() {
    let (world, receiver) =
        (World::with_webhooks(settings()), Receiver::reacting(|_, _| Reaction::Status(307)));
    let alpha = world.agent("alpha");
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let first = eventually_delivered(&alpha, 1).pop().unwrap();
    let present = Receiver::new();
    alpha.patch(&path_of(&subscription), &json!({ "url": present.url() })).ok();
    let path = format!("{DELIVERIES}/{}/replay", text(&first["id"]));
    let again = alpha.post(&path, &json!({})).ok();
    assert_eq!((&again["event_id"], &again["is_replay"]), (&first["event_id"], &json!(true)));
    assert_eq!((&again["url"], &again["response_status"]), (&json!(present.url()), &json!(200)));
    assert_ne!(again["id"], first["id"]);
    assert!(deliveries(&alpha, "").contains(&again));
    for stranger in [&*world.agent("bravo"), &world.other_admin()] {
        refused(stranger.post(&path, &json!({})), 404, "webhook_delivery_not_found");
    }
    alpha.delete(&path_of(&subscription)).no_content();
    refused(alpha.post(&path, &json!({})), 409, "webhook_subscription_gone");
    let listed = deliveries(&alpha, "?limit=1");
    assert_eq!(listed[0]["replayable"], false, "{listed:?}");
}

/// The types and shown handles of what arrived, in the order of the events.
fn told(receiver: &Receiver, count: usize) -> Vec<(String, Value)> {
    let arrived = receiver.wait_for(count);
    let mut events: Vec<Value> = arrived.iter().map(Received::json).collect();
    events.sort_by_key(|event| text(&event["timestamp"]));
    let shown =
        |event: &Value| (text(&event["event_type"]), event["data"]["identity"]["agent_handle"].clone());
    events.iter().map(shown).collect()
}

/// Returns when everything that has happened is in the queue.
pub(super) fn fanned_out(world: &World) {
    let behind = "select log_head.position - webhook_cursor.position + (select count(*) from webhook_late)
                  from log_head, webhook_cursor";
    eventually("the log is fanned out", || world.database().number(behind) == 0);
}

/// Returns when everything that has happened was sent.
pub(super) fn sent(world: &World) {
    fanned_out(world);
    let waiting = || world.database().number("select count(*) from webhook_queue");
    eventually("nothing waits to be sent", || waiting() == 0);
}

#[test]
fn a_viewer_is_told_of_what_it_may_see_and_of_nothing_else() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, [_, bravo, charlie]) = (world.admin(), world.agents(["alpha", "bravo", "charlie"]));
    let types =
        ["identity.deleted", "identity.updated", "identity.access_granted", "identity.access_revoked"];
    listen(&bravo, &bravo.id, &receiver, &types);
    let steps: [&dyn Fn(); 9] = [
        &|| describe(&admin, "alpha", "not told"),
        &|| drop(admin.grant("alpha", &charlie.id).created()),
        &|| drop(admin.grant("alpha", &bravo.id).created()),
        &|| describe(&admin, "alpha", "seen"),
        &|| admin.revoke("alpha", &bravo.id).no_content(),
        &|| describe(&admin, "alpha", "not told, either"),
        &|| drop(admin.open("alpha")),
        &|| drop(admin.provision("alpha")),
        &|| admin.remove("alpha"),
    ];
    for step in steps {
        step();
        sent(&world);
    }
    let expected = [
        ("identity.updated", json!("bravo")),
        ("identity.access_granted", json!("alpha")),
        ("identity.updated", json!("alpha")),
        ("identity.access_revoked", Value::Null),
        ("identity.access_granted", json!("alpha")),
        ("identity.deleted", Value::Null),
    ];
    assert_eq!(told(&receiver, 6), expected.map(|(name, shown)| (name.to_owned(), shown)));
    for arrived in receiver.received() {
        let data = &arrived.json()["data"];
        let named = data["agent_identities"].as_array().unwrap().iter().map(|one| &one["id"]);
        assert_eq!(named.collect::<Vec<_>>(), data["identity"].get("id").iter().copied().collect::<Vec<_>>());
        let text = String::from_utf8(arrived.body).unwrap();
        assert!(!text.contains(&charlie.id) && !text.contains("ApiKey_"), "{text}");
    }
}

// docs/webhooks.md, "What is sent to whom".
#[test]
fn an_identity_is_told_of_its_number_its_secrets_its_keys_and_its_other_subscriptions() {
    let world = World::with_webhooks(settings());
    let [own, of_viewer, other] = [(); 3].map(|()| Receiver::new());
    let (admin, [alpha, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    admin.grant("alpha", &bravo.id).created();
    let types = [
        "phone_number.provisioned",
        "phone_number.updated",
        "phone_number.released",
        "vault_secret.access_granted",
        "vault_secret.access_revoked",
        "api_key.issued",
        "api_key.rotated",
        "api_key.revoked",
        "webhook_subscription.disabled",
    ];
    listen(&alpha, &alpha.id, &own, &types);
    listen(&bravo, &bravo.id, &of_viewer, &types);
    let further = listen(&alpha, &alpha.id, &other, &["identity.deleted"]);
    let number = format!("/phone/numbers/{}", text(&admin.provision("alpha")["id"]));
    let calls = json!({ "incoming_call_action": "webhook", "incoming_call_webhook_url": "https://desk.example/calls" });
    admin.patch(&number, &calls).ok();
    admin.delete("/identities/alpha/phone_number").no_content();
    let access = format!("/vault/secrets/{}/access", text(&admin.register_secret("mail")["id"]));
    admin.post(&access, &json!({ "identity_id": alpha.id })).created();
    admin.delete(&format!("{access}/{}", alpha.id)).no_content();
    let key = format!("/api-keys/{}", text(&admin.mint("further", &alpha.id)["record"]["id"]));
    admin.post(&format!("{key}/rotate"), &json!({})).ok();
    admin.delete(&key).no_content();
    disable(&world, &text(&further["id"]));
    let expected = types.map(|name| (name.to_owned(), json!("alpha")));
    assert_eq!(told(&own, types.len()), expected);
    sent(&world);
    // Viewers are told that a number comes and goes.
    assert_eq!(told(&of_viewer, 2), [expected[0].clone(), expected[2].clone()]);
}

#[test]
fn an_identity_is_told_of_a_subscription_that_was_disabled_and_then_deleted() {
    let world = World::with_webhooks(settings());
    let ([own, other], alpha) = ([(); 2].map(|()| Receiver::new()), world.agent("alpha"));
    listen(&alpha, &alpha.id, &own, &["webhook_subscription.disabled"]);
    let further = listen(&alpha, &alpha.id, &other, &["identity.deleted"]);
    // Nothing is queued until both have happened.
    let cursor = world.session("begin; select from webhook_cursor for update");
    disable(&world, &text(&further["id"]));
    alpha.delete(&path_of(&further)).no_content();
    wait(cursor.close()).unwrap();
    assert_eq!(told(&own, 1), [("webhook_subscription.disabled".to_owned(), json!("alpha"))]);
}

#[test]
fn nothing_is_kept_of_an_identity_that_was_deleted() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, [alpha, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    let own = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    listen(&bravo, &bravo.id, &receiver, &["identity.access_granted", "identity.deleted"]);
    admin.grant("alpha", &bravo.id).created();
    eventually_delivered(&admin, 2);
    admin.remove("alpha");
    let types = || deliveries(&admin, "").iter().map(|one| text(&one["event_type"])).collect::<Vec<_>>();
    eventually("what showed the identity is gone", || types() == ["identity.deleted"]);
    alpha.get(&path_of(&own)).must_be(401);
    let kept = "select count(*) from webhook_deliveries where payload like '%agent_handle\":\"alpha%'";
    assert_eq!(world.database().number(kept), 0);
}

#[test]
fn a_dead_endpoint_delays_no_other() {
    let world = World::with_webhooks(settings());
    let (dead, good) = (Receiver::reacting(|_, _| Reaction::Silence), Receiver::new());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    listen(&alpha, &alpha.id, &dead, &["identity.updated"]);
    listen(&alpha, &alpha.id, &good, &["identity.updated"]);
    for number in 0..40 {
        describe(&admin, "alpha", &format!("number {number}"));
    }
    // The dead endpoint answers nothing for longer than this test waits.
    good.wait_for(40);
    let on_their_way = dead.received().len();
    assert!(on_their_way <= 8, "{on_their_way}");
}

#[test]
fn what_waits_is_sent_after_a_restart_and_nothing_is_queued_twice() {
    let mut patient = settings();
    patient.schedule.delays = vec![Duration::from_hours(1)];
    let world = World::with_webhooks(patient);
    let receiver = Receiver::reacting(|number, _| Reaction::Status(if number == 0 { 500 } else { 200 }));
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    eventually_delivered(&alpha, 1);
    // A process that dies while it moves the cursor: its transaction is rolled back.
    let mut held = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("select from webhook_cursor for update").execute(&mut *held)).unwrap();
    describe(&admin, "alpha", "while the cursor is held");
    let world = world.restarted();
    wait(held.rollback()).unwrap();
    let retried = "update webhook_queue set due_at = now()";
    receiver.wait_for(2);
    world.database().execute(retried);
    receiver.wait_for(3);
    describe(&world.admin(), "alpha", "after all");
    let arrived = receiver.wait_for(4);
    let ids: Vec<String> = arrived.iter().map(Received::id).collect();
    let different: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), different.len()), (4, 3), "{ids:?}");
    let waiting = || world.database().number("select count(*) from webhook_queue");
    eventually("the queue is empty", || waiting() == 0);
}

#[test]
fn an_address_that_is_not_public_any_more_is_refused_when_something_is_sent() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    receiver.wait_for(1);
    let world = world.restarted_with_webhooks(Settings { policy: Policy::default(), ..settings() });
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    describe(&admin, "alpha", "desk");
    let refused = eventually_delivered(&alpha, 2).swap_remove(0);
    assert_eq!(refused["response_status"], Value::Null);
    let reason = text(&refused["error_detail"]);
    assert!(reason.contains("must begin with https://"), "{reason}");
    assert_eq!(receiver.received().len(), 1);
    let answer =
        alpha.call(Method::PATCH, &path_of(&subscription)).json(&json!({ "url": receiver.url() })).send();
    answer.invalid_at(&["body", "url"]);
    alpha.post(PATH, &json!({ "agent_identity_id": alpha.id, "url": receiver.url(), "event_types": ["identity.updated"] }))
        .invalid_at(&["body", "url"]);
}

#[test]
fn what_the_service_cannot_sign_waits_and_is_no_failure() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let first = eventually_delivered(&alpha, 1).swap_remove(0);
    world.database().execute("create table kept as select * from ciphertexts");
    world.database().execute("delete from ciphertexts");
    describe(&admin, "alpha", "desk");
    let waiting =
        "select count(*) from webhook_queue where attempts = 0 and due_at > now() + interval '10 seconds'";
    eventually("the row is given back", || world.database().number(waiting) == 1);
    alpha.post(&format!("{DELIVERIES}/{}/replay", text(&first["id"])), &json!({})).must_be(503);
    assert_eq!(deliveries(&alpha, "").len(), 1);
    world.database().execute("insert into ciphertexts select * from kept");
    world.database().execute("update webhook_queue set due_at = now()");
    receiver.wait_for(2);
}

// The service is held while it claims the delivery.
#[test]
fn a_token_is_not_sent_to_an_address_that_was_left() {
    let (world, left, present) = (World::with_webhooks(settings()), Receiver::new(), Receiver::new());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let mut body =
        json!({ "agent_identity_id": alpha.id, "url": left.url(), "event_types": ["identity.updated"] });
    body["auth_token"] = json!("let-me-in");
    subscribe(&alpha, &body);
    eventually_delivered(&alpha, 1);
    let begin = || wait(world.database().pool().begin()).unwrap();
    let (mut unsent, mut unread) = (begin(), begin());
    wait(sqlx::query("select from webhook_cursor for update").execute(&mut *unsent)).unwrap();
    describe(&admin, "alpha", "desk");
    wait(sqlx::query("lock table ciphertexts").execute(&mut *unread)).unwrap();
    wait(unsent.commit()).unwrap();
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
                   and query like 'with recursive endpoint%'";
    eventually("the claim of the delivery waits for the keys", || world.database().number(waiting) == 1);
    let moved = format!("update read_model.webhook_subscriptions set url = '{}'", present.url());
    wait(sqlx::query(&moved).execute(&mut *unread)).unwrap();
    wait(unread.commit()).unwrap();
    assert_eq!(present.wait_for(1)[0].header("authorization"), "Bearer let-me-in");
    assert_eq!(left.received().len(), 1);
}
