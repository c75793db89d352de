//! What a viewer may not see any more is neither sent to it nor shown in its log of deliveries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::deliveries::{DELIVERIES, deliveries, eventually_delivered, fanned_out, listen, sent, settings};
use super::receiver::{Reaction, Receiver};
use super::refused;
use crate::harness::{Caller, World, eventually, text, wait};

/// An identity is shown to bravo, and the receiver fails. Then this happens, and everything that waits is due. Returns the types of
/// what arrived, and of what is listed.
fn after(show: impl Fn(&Caller, &str), hide: impl Fn(&Caller, &str), then: usize) -> [Vec<Value>; 2] {
    let mut patient = settings();
    patient.schedule.delays = vec![Duration::from_hours(1)];
    let world = World::with_webhooks(patient);
    let receiver = Receiver::reacting(|number, _| Reaction::Status(if number == 0 { 500 } else { 200 }));
    let (admin, [_, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    listen(&bravo, &bravo.id, &receiver, &["identity.access_granted", "identity.access_revoked"]);
    show(&admin, &bravo.id);
    let shown = text(&eventually_delivered(&admin, 1)[0]["id"]);
    hide(&admin, &bravo.id);
    fanned_out(&world);
    world.database().execute("update webhook_queue set due_at = now()");
    let waiting = || world.database().number("select count(*) from webhook_queue");
    eventually("nothing waits", || waiting() == 0);
    admin.post(&format!("{DELIVERIES}/{shown}/replay"), &json!({})).must_be(404);
    let arrived = receiver.wait_for(1 + then).into_iter().skip(1).map(|one| one.json());
    let types = |one: Value| one["event_type"].clone();
    [arrived.map(types).collect(), deliveries(&admin, "").into_iter().map(types).collect()]
}

fn grant(admin: &Caller, viewer: &str) {
    admin.grant("alpha", viewer).created();
}

fn revoke(admin: &Caller, viewer: &str) {
    admin.revoke("alpha", viewer).no_content();
}

#[test]
fn after_a_revocation_only_the_revocation_is_told() {
    let told = || vec![json!("identity.access_revoked")];
    assert_eq!(after(grant, revoke, 1), [told(), told()]);
    assert_eq!(after(|admin, _| drop(admin.open("alpha")), revoke, 1), [told(), told()]);
}

#[test]
fn after_a_pause_of_either_nothing_is_told() {
    for handle in ["alpha", "bravo"] {
        let pause = |admin: &Caller, _: &str| drop(admin.change(handle, &json!({ "status": "paused" })).ok());
        assert_eq!(after(grant, pause, 0), [Vec::<Value>::new(), vec![]]);
    }
}

#[test]
fn viewers_are_told_of_a_pause_and_paused_viewers_of_nothing() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, [_, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    grant(&admin, &bravo.id);
    let types = ["identity.updated", "identity.deleted", "identity.access_revoked"];
    listen(&admin, &bravo.id, &receiver, &types);
    let own = receiver.wait_for(1).len();
    let set = |handle: &str, status: &str| {
        admin.change(handle, &json!({ "status": status })).ok();
        sent(&world);
    };
    set("alpha", "paused");
    // What it could not see is not taken from it.
    admin.create("unseen");
    set("unseen", "paused");
    admin.grant("unseen", &bravo.id).created();
    admin.revoke("unseen", &bravo.id).no_content();
    set("alpha", "active");
    set("bravo", "paused");
    admin.remove("alpha");
    sent(&world);
    set("bravo", "active");
    let arrived = receiver.wait_for(own + 4);
    let mut told: Vec<Value> = arrived.into_iter().skip(own).map(|one| one.json()).collect();
    told.sort_by_key(|event| text(&event["timestamp"]));
    let told: Vec<Value> = told
        .into_iter()
        .map(|event| {
            let shown = &event["data"]["identity"];
            json!([
                event["event_type"],
                event["data"]["event"]["event_type"],
                shown["agent_handle"],
                shown["status"]
            ])
        })
        .collect();
    let changed =
        |handle: Value, status: Value| json!(["identity.updated", "identity.status_changed", handle, status]);
    let expected = [
        changed(Value::Null, Value::Null),
        changed(json!("alpha"), json!("active")),
        changed(json!("bravo"), json!("paused")),
        changed(json!("bravo"), json!("active")),
    ];
    assert_eq!(told, expected);
}

// The fan-out waits until all of it has happened, so that it reads the history of the identity once.
#[test]
fn each_of_many_changes_is_told_to_those_who_saw_the_identity_before_it() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, [_, bravo, charlie]) = (world.admin(), world.agents(["alpha", "bravo", "charlie"]));
    listen(&admin, &bravo.id, &receiver, &["identity.access_revoked", "identity.deleted"]);
    listen(&admin, &charlie.id, &receiver, &["identity.updated"]);
    let own = receiver.wait_for(1).len();
    fanned_out(&world);
    let mut waiting = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("select from webhook_cursor for update").execute(&mut *waiting)).unwrap();
    let set = |status: &str| drop(admin.change("alpha", &json!({ "status": status })).ok());
    grant(&admin, &bravo.id);
    revoke(&admin, &bravo.id);
    grant(&admin, &charlie.id);
    set("paused");
    revoke(&admin, &charlie.id);
    grant(&admin, &bravo.id);
    revoke(&admin, &bravo.id);
    set("active");
    set("paused");
    set("active");
    admin.open("alpha");
    revoke(&admin, &bravo.id);
    set("paused");
    admin.remove("alpha");
    wait(waiting.commit()).unwrap();
    fanned_out(&world);
    let arrived = receiver.wait_for(own + 4);
    let mut told: Vec<Value> = arrived.into_iter().skip(own).map(|one| one.json()).collect();
    told.sort_by_key(|event| event["data"]["event"]["sequence"].as_i64());
    let told: Vec<&Value> = told.iter().map(|event| &event["data"]["event"]["event_type"]).collect();
    let (revoked, changed) = ("identity.visibility_revoked", "identity.status_changed");
    assert_eq!(told, [revoked, changed, "identity.visibility_narrowed", changed]);
}

#[test]
fn a_pause_takes_back_what_waits_to_be_told_of_others() {
    let mut patient = settings();
    patient.schedule.delays = vec![Duration::from_hours(1)];
    let world = World::with_webhooks(patient);
    let receiver = Receiver::reacting(|_, _| Reaction::Status(500));
    let (admin, [_, bravo]) = (world.admin(), world.agents(["alpha", "bravo"]));
    grant(&admin, &bravo.id);
    listen(&admin, &bravo.id, &receiver, &["identity.deleted"]);
    admin.remove("alpha");
    eventually_delivered(&admin, 1);
    let waiting = || world.database().number("select count(*) from webhook_queue");
    assert_eq!(waiting(), 1);
    admin.change("bravo", &json!({ "status": "paused" })).ok();
    fanned_out(&world);
    assert_eq!(waiting(), 0);
}

#[test]
fn however_much_there_is_of_an_identity_nothing_outlives_it() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    eventually_delivered(&alpha, 1);
    for statement in [
        "create table copies as select * from webhook_deliveries",
        "update copies set id = gen_random_uuid()",
        "insert into copies select copies.* from copies, generate_series(1, 11000)",
        "update copies set id = gen_random_uuid()",
        "insert into webhook_deliveries select * from copies",
    ] {
        world.database().execute(statement);
    }
    world.admin().remove("alpha");
    fanned_out(&world);
    assert_eq!(world.database().number("select count(*) from webhook_deliveries"), 0);
}

#[test]
fn a_replay_of_what_is_deleted_meanwhile_leaves_no_copy() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let passed = Arc::clone(&gate);
    let receiver = Receiver::reacting(move |_, _| {
        drop(passed.lock());
        Reaction::Status(200)
    });
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    let first = text(&eventually_delivered(&alpha, 1)[0]["id"]);
    let closed = gate.lock().unwrap();
    let path = format!("{DELIVERIES}/{first}/replay");
    std::thread::scope(|scope| {
        let replay = scope.spawn(|| alpha.post(&path, &json!({})));
        receiver.wait_for(2);
        world.database().execute("delete from webhook_deliveries");
        drop(closed);
        refused(replay.join().unwrap(), 404, "webhook_delivery_not_found");
    });
    assert_eq!(deliveries(&alpha, ""), Vec::<Value>::new());
}

#[test]
fn what_is_deleted_while_it_is_sent_is_not_recorded() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (closed, passed) = (gate.lock().unwrap(), Arc::clone(&gate));
    let receiver = Receiver::reacting(move |_, _| {
        drop(passed.lock());
        Reaction::Status(500)
    });
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    receiver.wait_for(1);
    let mut erasing = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("delete from webhook_queue").execute(&mut *erasing)).unwrap();
    drop(closed);
    // The record of the first waits for nobody, and that of the second comes behind it.
    let working = Receiver::new();
    listen(&bravo, &bravo.id, &working, &["identity.updated"]);
    eventually_delivered(&bravo, 1);
    wait(erasing.commit()).unwrap();
    sent(&world);
    assert_eq!(deliveries(&alpha, ""), Vec::<Value>::new());
}

/// The access rows of an identity are read for all subscribers together, up to a number. An identity can have more.
#[test]
fn an_identity_with_hundreds_of_viewers_is_told_to_them_and_to_nobody_else() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, [_, bravo, charlie]) = (world.admin(), world.agents(["alpha", "bravo", "charlie"]));
    for number in 0..300 {
        let viewer = admin.create(&format!("viewer-{number}"));
        admin.grant("alpha", &text(&viewer["id"])).created();
    }
    admin.grant("alpha", &bravo.id).created();
    for viewer in [&bravo, &charlie] {
        listen(viewer, &viewer.id, &receiver, &["identity.updated"]);
    }
    admin.change("alpha", &json!({ "description": "seen by many" })).ok();
    sent(&world);
    let told = receiver.received().into_iter().map(|one| one.json());
    let of_alpha = told.filter(|event| event["data"]["identity"]["agent_handle"] == "alpha");
    assert_eq!(of_alpha.count(), 1, "bravo sees it, charlie does not");
    let told = deliveries(&bravo, "").into_iter().filter(|one| one["event_type"] == "identity.updated");
    assert_eq!(told.count(), 2, "its own key, and alpha");
}

/// The state of an identity is stored after 256 events, and who saw it is read from there on.
#[test]
fn who_saw_an_identity_with_a_long_history_is_told_of_its_end() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let (admin, [_, bravo, charlie]) = (world.admin(), world.agents(["alpha", "bravo", "charlie"]));
    admin.grant("alpha", &bravo.id).created();
    for number in 0..300 {
        admin.change("alpha", &json!({ "description": number.to_string() })).ok();
    }
    assert!(world.database().number("select count(*) from read_model.identity_states") > 0);
    for viewer in [&bravo, &charlie] {
        listen(viewer, &viewer.id, &receiver, &["identity.deleted"]);
    }
    fanned_out(&world);
    admin.remove("alpha");
    sent(&world);
    let told = |agent: &Caller| -> Vec<String> {
        deliveries(agent, "").iter().map(|one| text(&one["event_type"])).collect()
    };
    assert_eq!((told(&bravo), told(&charlie)), (vec!["identity.deleted".to_owned()], vec![]));
}
