//! Deliveries that are sent again because somebody asks for it.

use std::sync::{Arc, Mutex};

use identityd::settings::QuotaLayer;
use reqwest::Method;
use serde_json::json;

use super::deliveries::{DELIVERIES, eventually_delivered, listen, settings};
use super::receiver::{Reaction, Receiver};
use super::subscribe;

use crate::harness::{Agent, Answer, Caller, World, eventually, text};

/// How many replays of deliveries to one subscription are on their way at the same time.
const MAX_REPLAYS: usize = 8;

fn path_of_first(alpha: &Agent) -> String {
    let first = eventually_delivered(alpha, 1).pop().unwrap();
    format!("{DELIVERIES}/{}/replay", text(&first["id"]))
}

#[test]
fn a_replay_carries_the_token_and_is_signed() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let subscription = subscribe(
        &alpha,
        &json!({ "agent_identity_id": alpha.id, "url": receiver.url(), "event_types": ["identity.updated"],
                 "auth_token": "let-me-in" }),
    );
    let again = alpha.post(&path_of_first(&alpha), &json!({})).ok();
    let arrived = receiver.wait_for(2).pop().unwrap();
    assert_eq!(arrived.header("x-inkbox-request-id"), text(&again["id"]));
    assert_eq!(arrived.header("authorization"), "Bearer let-me-in");
    super::deliveries::hold_signatures(&arrived, &text(&subscription["signing_key"]));
}

#[test]
fn replays_of_one_subscription_at_the_same_time_are_limited() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let passed = Arc::clone(&gate);
    let receiver = Receiver::reacting(move |number, _| {
        if number > 0 {
            drop(passed.lock());
        }
        Reaction::Status(200)
    });
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let path = path_of_first(&alpha);
    let closed = gate.lock().unwrap();
    let answers: Mutex<Vec<Answer>> = Mutex::default();
    let answered = |count: usize| {
        eventually(&format!("{count} replays are answered"), || answers.lock().unwrap().len() == count);
    };
    std::thread::scope(|scope| {
        for _ in 0..MAX_REPLAYS + 4 {
            scope.spawn(|| {
                let answer = alpha.post(&path, &json!({}));
                answers.lock().unwrap().push(answer);
            });
        }
        answered(4);
        receiver.wait_for(1 + MAX_REPLAYS);
        for refused in answers.lock().unwrap().drain(..) {
            assert!(refused.headers.contains_key("retry-after"), "{refused}");
            super::refused(refused, 429, "share_used_up");
        }
        drop(closed);
        answered(MAX_REPLAYS);
    });
    assert!(answers.lock().unwrap().drain(..).all(|answer| answer.status == 200));
    assert_eq!(receiver.received().len(), 1 + MAX_REPLAYS);
    alpha.post(&path, &json!({})).ok();
}

/// A receiver that answers everything but the first request only when the gate is open.
fn behind(gate: &Arc<Mutex<()>>) -> Receiver {
    let passed = Arc::clone(gate);
    Receiver::reacting(move |number, _| {
        if number > 0 {
            drop(passed.lock());
        }
        Reaction::Status(200)
    })
}

fn replay_once(alpha: &Agent, path: &str) -> Answer {
    alpha.call(Method::POST, path).header("Idempotency-Key", "once").json(&json!({})).send()
}

/// Asks for a replay with `Idempotency-Key`, and hangs up when the receiver has it. Returns when the service has noticed that.
fn hang_up(world: &World, alpha: &Agent, path: &str, receiver: &Receiver) {
    let mut line = alpha.connect();
    let lines = "Content-Length: 2\r\nIdempotency-Key: once\r\n";
    line.send(alpha.head_with("POST", &format!("/api/v1{path}"), lines) + "{}");
    receiver.wait_for(2);
    drop(line);
    eventually("the service has noticed it", || {
        let metrics = world.stranger().metrics().0;
        let mut counted = metrics.lines().filter(|line| line.starts_with("identityd_http_requests_total{"));
        counted.any(|line| line.contains("/replay\"") && line.contains("status=\"499\""))
    });
}

#[test]
fn a_replay_whose_client_hangs_up_is_finished_and_is_not_sent_again() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (alpha, receiver) = (world.agent("alpha"), behind(&gate));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let path = path_of_first(&alpha);
    let closed = gate.lock().unwrap();
    hang_up(&world, &alpha, &path, &receiver);
    let early = std::thread::scope(|scope| {
        let early = scope.spawn(|| replay_once(&alpha, &path));
        eventually("it is answered, or sent again", || early.is_finished() || receiver.received().len() > 2);
        drop(closed);
        early.join().unwrap()
    });
    super::refused(early, 409, "idempotency_in_progress");
    let listed = eventually_delivered(&alpha, 2);
    // The answer is kept after the delivery was listed.
    eventually("the answer is kept", || replay_once(&alpha, &path).status == 200);
    let again = replay_once(&alpha, &path);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.ok(), listed[0]);
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn a_service_that_stops_finishes_the_replay_whose_client_has_hung_up() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (alpha, receiver) = (world.agent("alpha"), behind(&gate));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let path = path_of_first(&alpha);
    let (closed, address) = (gate.lock().unwrap(), world.base_url().to_owned());
    hang_up(&world, &alpha, &path, &receiver);
    let world = std::thread::scope(|scope| {
        let restarting = scope.spawn(|| world.restarted());
        eventually("the service stops", || reqwest::blocking::get(&address).is_err());
        drop(closed);
        restarting.join().unwrap()
    });
    let alpha = world.agent("alpha");
    assert_eq!(replay_once(&alpha, &path).headers["idempotent-replayed"], "true");
    assert_eq!(eventually_delivered(&alpha, 2).len(), 2);
    assert_eq!(receiver.received().len(), 2);
}

/// With a budget of one byte a second, a debt lasts as long as a test.
#[test]
fn replays_of_long_payloads_are_large_writes() {
    let quotas = QuotaLayer { organization_bulk_bytes_per_second: Some(1), ..QuotaLayer::default() };
    let (world, receiver) = (World::with_webhooks_and_quotas(settings(), &quotas), Receiver::new());
    let admin = world.admin();
    let id = text(&admin.create("alpha")["id"]);
    listen(&admin, &id, &receiver, &["identity.updated"]);
    // The change is free, and its payload has the text twice: in the event, and in the identity.
    admin.change("alpha", &json!({ "description": "x".repeat(3_900) })).ok();
    let long =
        eventually_delivered(&admin, 2).into_iter().max_by_key(|one| text(&one["request_payload"]).len());
    let long = long.unwrap();
    let path = format!("{DELIVERIES}/{}/replay", text(&long["id"]));
    admin.post(&path, &json!({})).ok();
    let sent = receiver.received().len();
    let refused = admin.post(&path, &json!({}));
    assert!(refused.headers["retry-after"].parse::<u32>().unwrap() > 100, "{refused}");
    super::refused(refused, 429, "share_used_up");
    assert_eq!(receiver.received().len(), sent);
    admin.change("alpha", &json!({ "description": "short" })).ok();
}

#[test]
fn a_replay_that_another_process_is_asked_for_meanwhile_is_sent_once() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (alpha, receiver) = (world.agent("alpha"), behind(&gate));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let path = path_of_first(&alpha);
    let beside = world.beside();
    let elsewhere = beside.at(&alpha);
    let once = |caller: &Caller| {
        caller.call(Method::POST, &path).header("Idempotency-Key", "once").json(&json!({})).send()
    };
    let closed = gate.lock().unwrap();
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| once(&alpha));
        receiver.wait_for(2);
        once(&elsewhere).refused_as(409, "idempotency_in_progress");
        drop(closed);
        first.join().unwrap()
    });
    let again = once(&elsewhere);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.ok(), first.ok());
    assert_eq!(receiver.received().len(), 2);
}

#[test]
fn a_replay_whose_process_died_meanwhile_is_sent_again_after_a_minute() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (alpha, receiver) = (world.agent("alpha"), behind(&gate));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let path = path_of_first(&alpha);
    replay_once(&alpha, &path).ok();
    // As a process leaves the key that dies before the receiver has answered.
    let begun = |age: &str| {
        world.database().execute(&format!(
            "update idempotency_records set status = 0, body = '', recorded_at = now() - interval '{age}'"
        ));
    };
    begun("50 s");
    super::refused(replay_once(&alpha, &path), 409, "idempotency_in_progress");
    begun("61 s");
    let again = replay_once(&alpha, &path);
    assert!(!again.headers.contains_key("idempotent-replayed"));
    again.ok();
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(replay_once(&alpha, &path).headers["idempotent-replayed"], "true");
}
