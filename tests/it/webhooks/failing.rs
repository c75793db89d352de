//! When an endpoint to which everything fails is disabled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use identity_webhooks::Settings;
use identity_webhooks::schedule::Schedule;
use serde_json::{Value, json};

use super::deliveries::{DELIVERIES, deliveries, eventually_delivered, fanned_out, listen, settings};
use super::path_of;
use super::receiver::{Reaction, Receiver};
use crate::harness::{Caller, World, eventually, text};

/// An endpoint is disabled after five days, and what fails is not sent again while a test runs.
fn patient() -> Settings {
    Settings {
        schedule: Schedule { delays: vec![Duration::from_hours(1)], ..Schedule::default() },
        ..settings()
    }
}

/// A receiver that answers with a status that the test changes.
fn receiver(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let present = Arc::clone(&status);
    (Receiver::reacting(move |_, _| Reaction::Status(present.load(Ordering::SeqCst))), status)
}

fn describe(world: &World, text: &str) {
    world.admin().change("alpha", &json!({ "description": text })).ok();
}

fn disabled_reason(alpha: &Caller, subscription: &Value) -> Value {
    alpha.get(&path_of(subscription)).ok()["disabled_reason"].clone()
}

/// Returns when so many deliveries wait for another attempt, and none is on its way.
fn waiting(world: &World, count: i64) {
    fanned_out(world);
    let number = |condition: &str| {
        world.database().number(&format!("select count(*) from webhook_queue where {condition}"))
    };
    eventually(&format!("{count} deliveries wait for another attempt"), || {
        number("lease_until is null and due_at > now()") == count && number("true") == count
    });
}

#[test]
fn an_endpoint_to_which_everything_fails_for_long_is_disabled_and_history_says_so() {
    let schedule = Schedule { give_up_after: Duration::from_secs(1), ..settings().schedule };
    let world = World::with_webhooks(Settings { schedule, ..settings() });
    let (alpha, (receiver, _)) = (world.agent("alpha"), receiver(500));
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let mut changes = 0;
    eventually("the subscription is disabled", || {
        changes += 1;
        describe(&world, &changes.to_string());
        fanned_out(&world);
        disabled_reason(&alpha, &subscription) == "failing"
    });
    let failed_for = "select (extract(epoch from max(created_at) - min(created_at)) * 1000)::bigint
                      from webhook_deliveries where response_status = 500";
    let failed_for = world.database().number(failed_for);
    assert!(failed_for > 900, "{failed_for}");
    let events = world.admin().get("/events?event_type=webhook_subscription.disabled").ok();
    assert_eq!(events["events"][0]["payload"]["reason"], "failing");
    assert_eq!(events["events"][0]["metadata"]["actor_kind"], "service");
    fanned_out(&world);
    assert_eq!(world.database().number("select count(*) from webhook_queue"), 0);
}

#[test]
fn a_success_ends_the_time_in_which_everything_fails() {
    let world = World::with_webhooks(patient());
    let (alpha, (receiver, status)) = (world.agent("alpha"), receiver(500));
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    waiting(&world, 1);
    world.database().execute("update webhook_endpoints set failing_since = now() - interval '6 days'");
    status.store(200, Ordering::SeqCst);
    describe(&world, "taken");
    eventually_delivered(&alpha, 2);
    status.store(500, Ordering::SeqCst);
    describe(&world, "refused");
    waiting(&world, 2);
    assert_eq!(disabled_reason(&alpha, &subscription), Value::Null);
}

/// As if the subscription had failed for six days, and the last attempt had been made before this time.
fn failing_for_days(world: &World, last_attempt: &str) {
    world.database().execute(&format!(
        "update webhook_endpoints
         set failing_since = now() - interval '6 days', last_attempt_at = now() - interval '{last_attempt}'"
    ));
}

#[test]
fn after_a_pause_the_time_begins_anew() {
    let world = World::with_webhooks(patient());
    let (alpha, (receiver, _)) = (world.agent("alpha"), receiver(500));
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    waiting(&world, 1);
    failing_for_days(&world, "3 days");
    describe(&world, "one");
    waiting(&world, 2);
    assert_eq!(disabled_reason(&alpha, &subscription), Value::Null);
    let anew = "select count(*) from webhook_endpoints where failing_since > now() - interval '1 hour'";
    assert_eq!(world.database().number(anew), 1);
    failing_for_days(&world, "2 days");
    describe(&world, "two");
    eventually("the subscription is disabled", || disabled_reason(&alpha, &subscription) == "failing");
}

#[test]
fn a_failure_that_is_not_the_first_one_is_an_attempt() {
    let world = World::with_webhooks(patient());
    let (alpha, (receiver, _)) = (world.agent("alpha"), receiver(500));
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    waiting(&world, 1);
    world.database().execute(
        "update webhook_endpoints
         set failing_since = now() - interval '4 days', last_attempt_at = now() - interval '2 days'",
    );
    describe(&world, "desk");
    waiting(&world, 2);
    let noted = "select count(*) from webhook_endpoints
                 where failing_since < now() - interval '3 days' and last_attempt_at > now() - interval '1 hour'";
    assert_eq!(world.database().number(noted), 1);
}

#[test]
fn a_replay_is_no_attempt_that_ends_a_pause() {
    let world = World::with_webhooks(patient());
    let (alpha, (receiver, _)) = (world.agent("alpha"), receiver(500));
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    waiting(&world, 1);
    failing_for_days(&world, "3 days");
    let first = text(&deliveries(&alpha, "")[0]["id"]);
    let again = alpha.post(&format!("{DELIVERIES}/{first}/replay"), &json!({})).ok();
    assert_eq!(again["response_status"], 500);
    describe(&world, "desk");
    waiting(&world, 2);
    assert_eq!(disabled_reason(&alpha, &subscription), Value::Null);
}

#[test]
fn deliveries_that_are_deleted_since_they_are_old_make_no_pause() {
    let world = World::with_webhooks(Settings { retention: Duration::from_hours(24), ..patient() });
    let (alpha, (receiver, _)) = (world.agent("alpha"), receiver(500));
    let subscription = listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    waiting(&world, 1);
    failing_for_days(&world, "2 days");
    world.database().execute("update webhook_deliveries set created_at = now() - interval '2 days'");
    let world = world.restarted();
    let alpha = world.holder_of(&alpha.key);
    eventually("the old delivery is deleted", || deliveries(&alpha, "").is_empty());
    describe(&world, "desk");
    eventually("the subscription is disabled", || disabled_reason(&alpha, &subscription) == "failing");
}

#[test]
fn a_log_endpoint_is_disabled_after_the_same_time() {
    let world = World::with_webhooks(patient());
    let (admin, (receiver, _)) = (world.admin(), receiver(500));
    admin.post("/webhooks/log-endpoints", &json!({ "url": receiver.url(), "after": 0 })).created();
    let listed = || admin.get("/webhooks/log-endpoints").ok()["log_endpoints"][0].clone();
    let tried = |count: usize| {
        receiver.wait_for(count);
        let waiting =
            "select count(*) from webhook_log_endpoints where lease_until is null and due_at > now()";
        eventually("the event waits", || world.database().number(waiting) == 1);
    };
    tried(1);
    let failing_for_days =
        "update webhook_log_endpoints set due_at = now(), failing_since = now() - interval '6 days'";
    let paused = format!("{failing_for_days}, last_attempt_at = now() - interval '3 days'");
    world.database().execute(&paused);
    tried(2);
    let since = text(&listed()["failing_since"]);
    assert_eq!(listed()["disabled_reason"], Value::Null);
    assert_eq!(since, text(&listed()["last_attempt_at"]));
    world.database().execute(failing_for_days);
    eventually("the endpoint is disabled", || listed()["disabled_reason"] == "failing");
}
