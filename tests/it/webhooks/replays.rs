//! Deliveries that are sent again because somebody asks for it.

use std::sync::{Arc, Mutex};

use identityd::settings::QuotaLayer;
use serde_json::json;

use super::deliveries::{DELIVERIES, eventually_delivered, listen, settings};
use super::receiver::{Reaction, Receiver};
use super::{of_identity, refused, subscribe};
use crate::harness::{Agent, Answer, World, eventually, text};

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

#[test]
fn replays_of_large_deliveries_wait_for_the_budget_of_their_organization() {
    let quotas = QuotaLayer { organization_bulk_bytes_per_second: Some(1), ..QuotaLayer::default() };
    let world = World::with_quotas(&quotas);
    let admin = world.admin();
    subscribe(&admin, &of_identity(&text(&admin.create("alpha")["id"])));
    let first = eventually_delivered(&admin, 1).pop().unwrap();
    let path = format!("{DELIVERIES}/{}/replay", text(&first["id"]));
    let payload_becomes = |size: usize| {
        world.database().execute(&format!("update webhook_deliveries set payload = repeat('x', {size})"));
    };
    payload_becomes(100_000);
    admin.post(&path, &json!({})).ok();
    refused(admin.post(&path, &json!({})), 429, "share_used_up");
    payload_becomes(1_000);
    admin.post(&path, &json!({})).ok();
}
