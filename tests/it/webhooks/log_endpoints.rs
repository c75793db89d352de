//! Histories that are sent to an address in order.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::deliveries::{hold_signatures, listen, settings};
use super::receiver::{Reaction, Received, Receiver};
use super::{path_of_endpoint, refused};
use crate::harness::{Caller, NOBODY, World, eventually, text};

const ENDPOINTS: &str = "/webhooks/log-endpoints";

fn send_history(admin: &Caller, receiver: &Receiver, after: i64) -> Value {
    admin.post(ENDPOINTS, &json!({ "url": receiver.url(), "after": after })).created()
}

fn sequence(arrived: &Received) -> i64 {
    arrived.json()["organization_sequence"].as_i64().unwrap()
}

fn delivered_upto(admin: &Caller, endpoint: &Value) -> i64 {
    let listed = admin.get(ENDPOINTS).ok()["log_endpoints"].clone();
    let found = listed.as_array().unwrap().iter().find(|one| one["id"] == endpoint["id"]).unwrap().clone();
    found["delivered_upto"].as_i64().unwrap()
}

/// Whether a receiver fails at its request with this number: at about one in 16, as if at random, sometimes at several in a row, and in
/// each run at the same.
fn fails(request: usize) -> bool {
    // The first steps of SplitMix64. The product alone is spread evenly, so no two requests in a row would fail.
    let product = (request as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product ^ (product >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 60 == 0
}

// Scenario 62.
#[test]
fn ten_thousand_events_arrive_in_order_while_the_receiver_fails_at_random() {
    let world = World::with_webhooks(settings());
    world.admin().create("alpha");
    add_events(&world, 9_800);
    let world = world.restarted();
    let receiver = Receiver::reacting(|number, _| match (fails(number), number % 2) {
        (true, 0) => Reaction::Status(503),
        (true, _) => Reaction::Status(302),
        _ => Reaction::Status(200),
    });
    let admin = world.admin();
    let endpoint = send_history(&admin, &receiver, 0);
    for number in 0..200 {
        admin.change("alpha", &json!({ "description": format!("change {number}") })).ok();
    }
    let last = world.events();
    assert!(last >= 10_000, "{last}");
    for arrived in (1_000..=10_000).step_by(1_000) {
        receiver.wait_for(arrived);
    }
    eventually("everything is delivered", || delivered_upto(&admin, &endpoint) == last);
    let arrived = receiver.received();
    let taken: Vec<i64> = arrived
        .iter()
        .enumerate()
        .filter(|(number, _)| !fails(*number))
        .map(|(_, one)| sequence(one))
        .collect();
    let misplaced = (1..=last).zip(taken.iter().copied()).find(|(expected, found)| expected != found);
    assert_eq!((taken.len(), misplaced), (usize::try_from(last).unwrap(), None));
    let listed = admin.get("/events?limit=3").ok();
    assert_eq!(listed["events"][2], arrived.iter().find(|one| sequence(one) == 3).unwrap().json());
    hold_signatures(arrived.last().unwrap(), &text(&endpoint["signing_key"]));
    // A replay repeats exactly the rest.
    let before = arrived.len();
    admin.post(&format!("{}/replay", path_of_endpoint(&endpoint)), &json!({ "after": last - 5 })).ok();
    eventually("the rest is delivered", || {
        receiver.received().len() > before && delivered_upto(&admin, &endpoint) == last
    });
    let again: Vec<i64> = receiver.received()[before..].iter().map(sequence).collect();
    let mut rest = again.clone();
    rest.dedup();
    assert_eq!(rest, (last - 4..=last).collect::<Vec<i64>>(), "{again:?}");
}

#[test]
fn only_the_types_that_are_named_are_sent_and_from_now_on_unless_a_place_is_named() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let admin = world.admin();
    admin.create("before");
    let body = json!({ "url": receiver.url(), "event_types": ["identity.created"] });
    let endpoint = admin.post(ENDPOINTS, &body).created();
    admin.create("after");
    admin.change("after", &json!({ "description": "desk" })).ok();
    admin.create("later");
    eventually("the endpoint is up to date", || delivered_upto(&admin, &endpoint) == world.events());
    let handles: Vec<String> =
        receiver.received().iter().map(|one| text(&one.json()["payload"]["agent_handle"])).collect();
    assert_eq!(handles, ["after", "later"]);
}

/// Adds events to the history of the organization, each of an aggregate that nothing else knows.
fn add_events(world: &World, count: i64) {
    world.database().execute(&format!(
        "with new as (
             insert into events
             select last.position + number, organization_id, organization_sequence + number, aggregate_type,
                    'added-' || number, 1, event_type, event_version, payload, metadata, last.recorded_at, leaf_hash, null
             from (select * from events where organization_id = '{0}' order by position desc limit 1) as last,
                  generate_series(1, {count}) as number
             returning position, organization_sequence
         ), organization as (
             update organization_heads set sequence = (select max(organization_sequence) from new) where organization_id = '{0}'
         )
         update log_head set position = (select max(position) from new)",
        world.organization_id()
    ));
}

#[test]
fn what_nobody_wants_is_passed_before_what_fails() {
    let world = World::with_webhooks(settings());
    let receiver = Receiver::reacting(|_, _| Reaction::Status(500));
    let admin = world.admin();
    admin.create("alpha");
    add_events(&world, 25_000);
    let world = world.restarted();
    let passed = world.events();
    let admin = world.admin();
    admin.change("alpha", &json!({ "description": "wanted" })).ok();
    let wanted =
        json!({ "url": receiver.url(), "after": 0, "event_types": ["identity.description_changed"] });
    let endpoint = admin.post(ENDPOINTS, &wanted).created();
    receiver.wait_for(1);
    assert_eq!(sequence(&receiver.received()[0]), passed + 1);
    let upto = delivered_upto(&admin, &endpoint);
    assert!((20_000..=passed).contains(&upto), "{upto}");
}

#[test]
fn an_endpoint_that_answers_slowly_gives_up_its_turn() {
    let world = World::with_webhooks(settings());
    let (answers, asked) = std::sync::mpsc::channel::<()>();
    let asked = Mutex::new(asked);
    let receiver = Receiver::reacting(move |_, _| match asked.lock().unwrap().recv() {
        Ok(()) => Reaction::Status(200),
        Err(_) => Reaction::Silence,
    });
    let admin = world.admin();
    admin.create("alpha");
    send_history(&admin, &receiver, 0);
    receiver.wait_for(1);
    let due = || world.database().text("select due_at::text from webhook_log_endpoints");
    let begun = due();
    let moment = world.database().text("select clock_timestamp()::text");
    let is_over =
        format!("select count(*) where clock_timestamp() > '{moment}'::timestamptz + interval '1.1 seconds'");
    eventually("its turn is over", || world.database().number(&is_over) == 1);
    answers.send(()).unwrap();
    receiver.wait_for(2);
    assert_ne!(due(), begun);
}

#[test]
fn a_stop_of_the_service_ends_its_leases() {
    let world = World::with_webhooks(settings());
    let receiver = Receiver::reacting(|number, _| match number {
        0 | 1 => Reaction::Silence,
        _ => Reaction::Status(200),
    });
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let endpoint = send_history(&admin, &receiver, 0);
    receiver.wait_for(1);
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    receiver.wait_for(2);
    let leased = "select (select count(*) from webhook_log_endpoints where lease_until is not null)
                         + (select count(*) from webhook_queue where lease_until is not null)";
    assert_eq!(world.database().number(leased), 2);
    let world = world.restarted_after(|database| assert_eq!(database.number(leased), 0));
    let admin = world.admin();
    eventually("everything is delivered", || delivered_upto(&admin, &endpoint) == world.events());
}

#[test]
fn an_endpoint_that_is_gone_rests_until_a_replay() {
    let world = World::with_webhooks(settings());
    let receiver = Receiver::reacting(|number, _| Reaction::Status(if number == 0 { 410 } else { 200 }));
    let admin = world.admin();
    let endpoint = send_history(&admin, &receiver, 0);
    let listed = || admin.get(ENDPOINTS).ok()["log_endpoints"][0].clone();
    eventually("the endpoint is disabled", || listed()["disabled_reason"] == "gone");
    assert_eq!(listed()["last_status"], 410);
    admin.post(&format!("{}/replay", path_of_endpoint(&endpoint)), &json!({ "after": 0 })).ok();
    eventually("everything is delivered", || delivered_upto(&admin, &endpoint) == world.events());
    assert_eq!(listed()["disabled_reason"], Value::Null);
}

#[test]
fn admins_write_and_auditors_read() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, agent) = (world.admin(), world.agent("alpha"));
    let endpoint = send_history(&admin, &receiver, 0);
    let path = path_of_endpoint(&endpoint);
    assert_eq!(world.auditor().get(ENDPOINTS).ok()["log_endpoints"][0]["id"], endpoint["id"]);
    for caller in [&*agent, &world.auditor()] {
        let body = json!({ "url": receiver.url() });
        refused(caller.post(ENDPOINTS, &body), 403, "forbidden");
        refused(caller.delete(&path), 403, "forbidden");
    }
    refused(agent.get(ENDPOINTS), 403, "forbidden");
    refused(world.other_admin().delete(&path), 404, "log_endpoint_not_found");
    refused(admin.delete(&format!("{ENDPOINTS}/{NOBODY}")), 404, "log_endpoint_not_found");
    assert_eq!(world.other_admin().get(ENDPOINTS).ok()["log_endpoints"], json!([]));
    for url in ["http://example.com/", "https://10.0.0.1/", "https://user@example.com/"] {
        admin.post(ENDPOINTS, &json!({ "url": url })).invalid_at(&["body", "url"]);
    }
    for types in [json!([]), json!([""]), json!(["Identity"]), json!("identity.created"), json!([7])] {
        let body = json!({ "url": receiver.url(), "event_types": types });
        admin.post(ENDPOINTS, &body).invalid_at(&["body", "event_types"]);
    }
    for after in [json!(-1), json!(0.5), json!(-1.0), json!(1e300), json!("5")] {
        admin
            .post(ENDPOINTS, &json!({ "url": receiver.url(), "after": after }))
            .invalid_at(&["body", "after"]);
    }
    // As in JSON Schema, a number without a fraction is whole.
    let whole = admin.post(&format!("{path}/replay"), &json!({ "after": 5.0 })).ok();
    assert_eq!(whole["delivered_upto"], 5);
    admin.delete(&path).no_content();
    // At the same time, too.
    let create = || admin.post(ENDPOINTS, &json!({ "url": receiver.url(), "after": 1_000_000 })).status;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..24).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 16, "{statuses:?}");
    refused(admin.post(ENDPOINTS, &json!({ "url": receiver.url() })), 429, "webhook_limit_reached");
}

/// A copy of the identities of an organization, kept as docs/webhooks.md says.
#[derive(Default)]
struct Copy {
    applied: i64,
    handles: BTreeMap<String, String>,
    identities: BTreeMap<String, Value>,
}

impl Copy {
    /// Applies what arrived. What was applied before is left out, and a gap fails.
    fn apply(&mut self, arrived: &[Received], admin: &Caller) {
        for event in arrived.iter().map(Received::json) {
            let sequence = event["organization_sequence"].as_i64().unwrap();
            if sequence <= self.applied {
                continue;
            }
            assert_eq!(sequence, self.applied + 1, "a gap");
            self.applied = sequence;
            if event["aggregate_type"] == "identity" {
                self.apply_one(&event, admin);
            }
        }
    }

    fn apply_one(&mut self, event: &Value, admin: &Caller) {
        let (id, payload) = (text(&event["aggregate_id"]), &event["payload"]);
        match event["event_type"].as_str().unwrap() {
            "identity.deleted" => {
                self.identities.remove(&id);
                for other in self.identities.values_mut() {
                    let access = other["access"].as_array_mut().unwrap();
                    access.retain(|row| row["viewer_identity_id"] != id);
                }
            }
            "identity.created" | "identity.renamed" => {
                self.handles.insert(id.clone(), text(&payload["agent_handle"]));
                self.read(&id, admin);
            }
            _ => self.read(&id, admin),
        }
    }

    /// Reads an identity by its last handle that is known. Another identity can have this handle by now.
    fn read(&mut self, id: &str, admin: &Caller) {
        let answer = admin.try_identity(&self.handles[id]);
        if answer.status == 200 && answer.json()["id"] == id {
            self.identities.insert(id.to_owned(), answer.json());
        }
    }
}

// Scenario 63.
#[test]
fn a_subscriber_keeps_a_copy_of_the_identities_through_restarts_of_both_sides() {
    let world = World::with_webhooks(settings());
    let first = Receiver::reacting(|number, _| Reaction::Status(if number % 3 == 1 { 500 } else { 200 }));
    let mut copy = Copy::default();
    let endpoint = send_history(&world.admin(), &first, 0);
    let begin = |world: &World, name: &str| {
        let admin = world.admin();
        let [kept, gone, renamed] = ["kept", "gone", "renamed"].map(|kind| format!("{name}-{kind}"));
        for handle in [&kept, &gone, &renamed] {
            admin.create(handle);
        }
        admin.change(&renamed, &json!({ "agent_handle": format!("{renamed}-twice") })).ok();
        admin.grant(&kept, &text(&admin.identity(&gone)["id"])).created();
        admin.provision(&kept);
    };
    // It saw another identity, which has no event of its own about that. Its handle is that of another one afterwards.
    let end = |world: &World, name: &str| {
        let (admin, gone) = (world.admin(), format!("{name}-gone"));
        admin.remove(&gone);
        admin.create(&gone);
    };
    begin(&world, "one");
    first.wait_for(5);
    end(&world, "one");
    let world = world.restarted();
    begin(&world, "two");
    let admin = world.admin();
    eventually("everything is delivered", || delivered_upto(&admin, &endpoint) == world.events());
    copy.apply(&first.received(), &admin);
    // The subscriber has lost what it had in memory since a place that it noted, and has another address.
    let second = Receiver::new();
    let noted = copy.applied - 3;
    copy.applied = noted;
    admin.delete(&path_of_endpoint(&endpoint)).no_content();
    let endpoint = send_history(&admin, &second, noted);
    end(&world, "two");
    begin(&world, "three");
    eventually("everything is delivered", || delivered_upto(&admin, &endpoint) == world.events());
    copy.apply(&second.received(), &admin);
    end(&world, "three");
    eventually("everything is delivered", || delivered_upto(&admin, &endpoint) == world.events());
    copy.apply(&second.received(), &admin);
    let mut expected: Vec<Value> = admin.identities();
    expected.sort_by_key(|one| text(&one["id"]));
    assert_eq!(copy.identities.into_values().collect::<Vec<_>>(), expected);
}
