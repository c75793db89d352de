//! What was sent and cannot be recorded is not sent again and again; and the fan-out without its cursor.

use std::time::Duration;

use identity_webhooks::Settings;
use identity_webhooks::schedule::Schedule;
use serde_json::json;

use super::deliveries::{eventually_delivered, listen, sent, settings};
use super::receiver::{Reaction, Receiver};
use crate::harness::{World, eventually};

/// What is sent again is sent after an hour.
fn patient() -> Settings {
    Settings {
        schedule: Schedule { delays: vec![Duration::from_hours(1)], ..Schedule::default() },
        ..settings()
    }
}

fn describe(world: &World, text: &str) {
    world.admin().change("alpha", &json!({ "description": text })).ok();
}

/// Returns when what became of webhooks could not be written so many times.
fn eventually_failed(world: &World, failures: f64) {
    eventually("records fail", || {
        let failed = world.stranger().metrics().value("identityd_webhook_record_failures_total");
        failed.is_some_and(|failed| failed >= failures)
    });
}

#[test]
fn without_the_right_to_record_attempts_nothing_more_is_sent_and_nothing_twice() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    sent(&world);
    let before = receiver.received().len();
    for (number, right) in (1..).zip([
        "insert on webhook_deliveries",
        "delete on webhook_queue",
        "insert, update, delete on webhook_endpoints",
    ]) {
        let failures =
            world.stranger().metrics().value("identityd_webhook_record_failures_total").unwrap_or(0.0);
        world.database().execute(&format!("revoke {right} from identityd_test_service"));
        describe(&world, &format!("first without {right}"));
        eventually_failed(&world, failures + 1.0);
        describe(&world, &format!("second without {right}"));
        eventually_failed(&world, failures + 3.0);
        assert_eq!(receiver.received().len(), before + 2 * number - 1, "{right}");
        world.stranger().metrics().has("identityd_webhooks_unrecorded", 1.0);
        world.database().execute(&format!("grant {right} to identityd_test_service"));
        sent(&world);
        eventually_delivered(&alpha, before + 2 * number);
        assert_eq!(receiver.received().len(), before + 2 * number, "{right}");
        world.stranger().metrics().has("identityd_webhooks_unrecorded", 0.0);
    }
}

#[test]
fn an_attempt_that_the_database_refuses_to_record_is_repeated_after_a_growing_delay() {
    let world = World::with_webhooks(patient());
    let receiver = Receiver::reacting(|_, request| {
        let is_odd = request.json().to_string().contains("odd");
        Reaction::Status(if is_odd { 202 } else { 200 })
    });
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    sent(&world);
    let before = receiver.received().len();
    world.database().execute(
        "alter table webhook_deliveries add constraint no_202 check (response_status <> 202) not valid",
    );
    describe(&world, "odd");
    let waits = "select count(*) from webhook_queue
                 where attempts = 1 and lease_until is null and due_at > now() + interval '30 minutes'";
    eventually("the delivery waits", || world.database().number(waits) == 1);
    eventually_failed(&world, 1.0);
    describe(&world, "even");
    eventually_delivered(&alpha, before + 1);
    assert_eq!(receiver.received().len(), before + 2);
    world.database().execute("alter table webhook_deliveries drop constraint no_202");
    world.database().execute("update webhook_queue set due_at = now()");
    sent(&world);
    assert_eq!(receiver.received().len(), before + 3);
}

#[test]
fn a_log_endpoint_whose_cursor_cannot_be_written_waits_longer_each_time() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let endpoint = json!({ "url": receiver.url(), "after": world.events() });
    world.admin().post("/webhooks/log-endpoints", &endpoint).created();
    world.database().execute(
        "alter table webhook_log_endpoints add constraint stuck check (last_status is null) not valid",
    );
    world.admin().create("alpha");
    eventually_failed(&world, 1.0);
    // As if the lease had ended.
    world.database().execute("update webhook_log_endpoints set lease_until = now()");
    let waits = "select count(*) from webhook_log_endpoints where lease_until is null and due_at > now()";
    eventually("the endpoint waits", || world.database().number(waits) == 1);
    assert_eq!(receiver.received().len(), 1);
    world.database().execute("alter table webhook_log_endpoints drop constraint stuck");
    let behind =
        "select count(*) from webhook_log_endpoints where sequence < (select position from log_head)";
    eventually("the history is delivered", || world.database().number(behind) == 0);
}

#[test]
fn a_fan_out_without_its_cursor_is_noticed_and_goes_on_when_it_has_one() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    sent(&world);
    let before = receiver.received().len();
    let missing = |missing| world.stranger().metrics().has("identityd_webhook_cursor_missing", missing);
    missing(0.0);
    world.database().execute("create table kept as table webhook_cursor");
    world.database().execute("delete from webhook_cursor");
    describe(&world, "unseen");
    missing(1.0);
    assert_eq!(receiver.received().len(), before);
    world.database().execute("insert into webhook_cursor select * from kept");
    sent(&world);
    receiver.wait_for(before + 1);
    missing(0.0);
}
