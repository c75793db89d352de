//! An organization for which much is to be queued: it gets everything, delays no other one, and nobody is shown what was hidden in
//! the meantime.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};

use super::deliveries::{DELIVERIES, deliveries, eventually_delivered, fanned_out, listen, settings};
use super::receiver::{Reaction, Receiver};
use crate::harness::{Agent, Caller, World, eventually, text, wait};

/// As many subscriptions as one identity may have.
const SUBSCRIPTIONS: i64 = 20;

/// How often it is changed.
const CHANGES: i64 = 10;

/// What is queued stays in the queue: the receiver fails, and nothing is sent again while the test runs.
fn stalled() -> (World, Receiver) {
    let mut patient = settings();
    patient.schedule.delays = vec![Duration::from_hours(1)];
    (World::with_webhooks(patient), Receiver::reacting(|_, _| Reaction::Status(500)))
}

/// Nothing is queued until this ends.
fn held(world: &World) -> Transaction<'static, Postgres> {
    let mut transaction = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("select from webhook_cursor for update").execute(&mut *transaction)).unwrap();
    transaction
}

/// Payloads of twenty receivers that are together larger than the share of an organization.
fn describe(caller: &Caller, handle: &str, number: i64) {
    let description = format!("{number:0>4}{}", "\u{1}".repeat(9_000));
    caller.change(handle, &json!({ "description": description })).ok();
}

fn listen_often(agent: &Agent, receiver: &Receiver, types: &[&str]) {
    for _ in 0..SUBSCRIPTIONS {
        listen(agent, &agent.id, receiver, types);
    }
}

#[test]
fn an_organization_for_which_much_is_queued_delays_no_other_one() {
    let (world, receiver) = stalled();
    let (alpha, other) = (world.agent("alpha"), world.other_admin());
    let victim = text(&other.create("victim")["id"]);
    listen_often(&alpha, &receiver, &["identity.updated"]);
    listen(&other, &victim, &receiver, &["identity.updated"]);
    fanned_out(&world);
    world.database().execute("delete from webhook_queue");
    let transaction = held(&world);
    (0..CHANGES).for_each(|number| describe(&alpha, "alpha", number));
    other.change("victim", &json!({ "description": "once" })).ok();
    wait(transaction.commit()).unwrap();
    fanned_out(&world);
    let number = |query: &str| world.database().number(query);
    let of_alpha = format!("from webhook_queue where identity_id = '{}'", alpha.id);
    // Each of them once, in many transactions, of which the first has what the victim gets.
    assert_eq!(number(&format!("select count(*) {of_alpha}")), SUBSCRIPTIONS * CHANGES);
    let distinct = format!("select count(distinct (endpoint_id, event_id)) {of_alpha}");
    assert_eq!(number(&distinct), SUBSCRIPTIONS * CHANGES);
    assert!(number(&format!("select count(distinct created_at) {of_alpha}")) >= CHANGES);
    let first = format!(
        "select count(*) from webhook_queue
         where identity_id = '{victim}' and created_at = (select min(created_at) from webhook_queue)"
    );
    assert_eq!(number(&first), 1);
    world.stranger().metrics().has("identityd_webhooks_late_organizations", 0.0);
    // It is as before: the next event is queued with those of all others.
    describe(&alpha, "alpha", CHANGES);
    fanned_out(&world);
    assert_eq!(number(&format!("select count(*) {of_alpha}")), SUBSCRIPTIONS * (CHANGES + 1));
}

#[test]
fn whoever_may_see_an_identity_no_longer_is_told_that_and_nothing_else() {
    let (world, receiver) = stalled();
    let (admin, [alpha, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    listen_often(&bravo, &receiver, &["identity.updated", "identity.access_revoked"]);
    admin.grant("alpha", &bravo.id).created();
    fanned_out(&world);
    world.database().execute("delete from webhook_queue");
    let transaction = held(&world);
    (0..CHANGES).for_each(|number| describe(&alpha, "alpha", number));
    wait(transaction.commit()).unwrap();
    // Some of it is queued by now, or nothing, or all.
    admin.revoke("alpha", &bravo.id).no_content();
    fanned_out(&world);
    let types = "select string_agg(event_type || ' ' || rows, ',')
                 from (select event_type, count(*) as rows from webhook_queue group by 1) as counted";
    assert_eq!(world.database().text(types), format!("identity.access_revoked {SUBSCRIPTIONS}"));
}

#[test]
fn what_is_hidden_is_neither_listed_nor_sent_before_it_is_deleted() {
    let (world, receiver) = stalled();
    let (admin, [_, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    admin.grant("alpha", &bravo.id).created();
    listen(&bravo, &bravo.id, &receiver, &["identity.updated"]);
    admin.change("alpha", &json!({ "description": "shown" })).ok();
    let is_of_alpha = |one: &Value| text(&one["request_payload"]).contains("\"shown\"");
    eventually_delivered(&bravo, 2);
    let first = deliveries(&bravo, "").into_iter().find(is_of_alpha).unwrap();
    let transaction = held(&world);
    admin.revoke("alpha", &bravo.id).no_content();
    for caller in [&*bravo, &admin] {
        assert_eq!(deliveries(caller, "").iter().filter(|one| is_of_alpha(one)).count(), 0);
        caller.post(&format!("{DELIVERIES}/{}/replay", text(&first["id"])), &json!({})).must_be(404);
    }
    let before = receiver.received().len();
    // What shows the identity would be the first.
    world
        .database()
        .execute("update webhook_queue set due_at = now() - (shown_id is not null)::int * interval '1 s'");
    let arrived = receiver.wait_for(before + 1);
    assert!(arrived[before..].iter().all(|one| !String::from_utf8_lossy(&one.body).contains("\"shown\"")));
    wait(transaction.commit()).unwrap();
    fanned_out(&world);
    assert_eq!(world.database().number("select count(*) from webhook_queue where shown_id is not null"), 0);
}

#[test]
fn an_organization_that_is_deleted_from_in_the_meantime_has_nothing_in_the_queue() {
    let (world, receiver) = stalled();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    listen_often(&alpha, &receiver, &["identity.updated", "identity.deleted"]);
    (0..CHANGES).for_each(|number| describe(&alpha, "alpha", number));
    admin.remove("alpha");
    fanned_out(&world);
    assert_eq!(world.database().number("select count(*) from webhook_queue"), 0);
}

#[test]
fn where_too_much_waits_for_many_subscriptions_as_many_are_disabled_as_it_takes() {
    let (mut settings, limit) = (settings(), 20);
    settings.schedule.delays = vec![Duration::from_hours(1)];
    settings.waiting.organization.deliveries = limit;
    let world = World::with_webhooks(settings);
    let (receiver, alpha) = (Receiver::reacting(|_, _| Reaction::Status(500)), world.agent("alpha"));
    listen_often(&alpha, &receiver, &["identity.updated"]);
    fanned_out(&world);
    let transaction = held(&world);
    (0..2).for_each(|number| describe(&alpha, "alpha", number));
    wait(transaction.commit()).unwrap();
    let waiting = || world.database().number("select count(*) from webhook_queue");
    eventually("it is below the limit", || waiting() <= limit);
    fanned_out(&world);
    assert!(waiting() > limit / 2, "no more are disabled than it takes");
}

#[test]
fn a_document_that_is_very_large_is_left_out_and_the_payload_says_so() {
    let world = World::with_webhooks(settings());
    let (receiver, alpha, admin) = (Receiver::new(), world.agent("alpha"), world.admin());
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    alpha.change("alpha", &json!({ "description": "small" })).ok();
    receiver.wait_for(2);
    admin.patch("/mail/mailboxes/alpha", &json!({ "signature_text": "\u{1}".repeat(16_384) })).ok();
    let arrived: Vec<Value> =
        receiver.wait_for(3).into_iter().map(|one| one.json()["data"].clone()).collect();
    let omitted: Vec<&Value> = arrived.iter().filter(|data| data["identity_omitted"] == true).collect();
    assert!(!omitted.is_empty(), "{arrived:?}");
    for data in omitted {
        assert_eq!(data["identity"], Value::Null);
        assert_eq!(data["agent_identities"][0]["id"], json!(alpha.id));
    }
    let mut shown = arrived.iter().filter(|data| data["identity"].is_object()).peekable();
    assert!(shown.peek().is_some() && shown.all(|data| data.get("identity_omitted").is_none()));
}
