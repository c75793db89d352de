//! How much of the log of deliveries is kept for an organization.

use identity_webhooks::{LogLimits, Settings};
use serde_json::{Value, json};

use super::deliveries::{DELIVERIES, deliveries, eventually_delivered, listen, sent, settings};
use super::receiver::Receiver;
use crate::harness::{Caller, World, eventually, text};

/// More than the limits of these tests let an organization keep.
const MANY: usize = 30;

fn with_limits(deliveries: u64, bytes: u64) -> Settings {
    Settings { log: LogLimits { deliveries, bytes }, ..settings() }
}

fn listed(caller: &Caller) -> Vec<Value> {
    deliveries(caller, "?limit=200")
}

fn describe(world: &World, text: &str) {
    world.admin().change("alpha", &json!({ "description": text })).ok();
    sent(world);
}

/// What was sent and answered, in bytes.
fn bytes(delivery: &Value) -> usize {
    text(&delivery["request_payload"]).len() + text(&delivery["response_body"]).len()
}

/// The descriptions that were sent. The first delivery has none, which is that of the signing key.
fn descriptions(listed: &[Value]) -> Vec<String> {
    let payloads = listed.iter().map(|one| text(&one["request_payload"]));
    let payloads = payloads.map(|payload| serde_json::from_str::<Value>(&payload).unwrap());
    let shown = payloads.map(|payload| payload["data"]["identity"]["description"].clone());
    shown.filter_map(|shown| shown.as_str().map(str::to_owned)).collect()
}

#[test]
fn an_organization_that_has_too_many_deliveries_loses_its_oldest_ones_and_others_keep_theirs() {
    let (world, receiver) = (World::with_webhooks(with_limits(10, 0)), Receiver::new());
    let (alpha, other) = (world.agent("alpha"), world.other_admin());
    listen(&other, &text(&other.create("elsewhere")["id"]), &receiver, &["identity.updated"]);
    eventually_delivered(&other, 1);
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    for number in 0..MANY {
        describe(&world, &number.to_string());
    }
    eventually("the oldest are deleted", || listed(&alpha).len() == 10);
    let newest: Vec<String> = (MANY - 10..MANY).rev().map(|number| number.to_string()).collect();
    assert_eq!(descriptions(&listed(&alpha)), newest);
    let path = format!("{DELIVERIES}/{}/replay", text(&listed(&alpha)[0]["id"]));
    let again = (0..3).map(|_| alpha.post(&path, &json!({})).ok()).next_back().unwrap();
    eventually("replays count, too", || listed(&alpha).len() == 10);
    assert!(listed(&alpha).contains(&again));
    assert_eq!(listed(&other).len(), 1);
    let world = world.restarted_with_webhooks(with_limits(3, 0));
    describe(&world, "after a restart");
    eventually("the first delivery after a restart counts", || listed(&world.admin()).len() == 3);
}

#[test]
fn an_organization_whose_deliveries_have_too_many_bytes_loses_its_oldest_ones() {
    const LIMIT: usize = 100_000;
    let limits = with_limits(0, u64::try_from(LIMIT).unwrap());
    let (world, receiver) = (World::with_webhooks(limits), Receiver::new());
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    for number in 0..MANY {
        describe(&world, &format!("{number} {}", "x".repeat(9_900)));
    }
    // Every payload is more than a tenth, so each is counted.
    eventually("the oldest are deleted", || listed(&alpha).iter().map(bytes).sum::<usize>() <= LIMIT);
    let kept = descriptions(&listed(&alpha));
    assert!(kept[0].starts_with(&format!("{} ", MANY - 1)) && kept.len() > 5, "{} are kept", kept.len());
}
