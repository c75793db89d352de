//! What a viewer may not see any more is neither sent to it nor shown in its log of deliveries.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::deliveries::{DELIVERIES, deliveries, eventually_delivered, fanned_out, listen, settings};
use super::receiver::{Reaction, Receiver};
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
fn what_is_deleted_while_it_is_sent_is_not_recorded() {
    let (world, gate) = (World::with_webhooks(settings()), Arc::new(Mutex::new(())));
    let (closed, passed) = (gate.lock().unwrap(), Arc::clone(&gate));
    let receiver = Receiver::reacting(move |_, _| {
        drop(passed.lock());
        Reaction::Status(500)
    });
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    receiver.wait_for(1);
    let mut erasing = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("delete from webhook_queue").execute(&mut *erasing)).unwrap();
    drop(closed);
    let recording = |more: &str| {
        let query =
            "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'
                     and pid <> pg_backend_pid() and query like '%insert into webhook_deliveries%'";
        world.database().number(&format!("{query} {more}"))
    };
    eventually("the record waits", || recording("and wait_event_type = 'Lock'") == 1);
    wait(erasing.commit()).unwrap();
    eventually("the record is made", || recording("") == 0);
    assert_eq!(deliveries(&world.admin(), ""), Vec::<Value>::new());
}
