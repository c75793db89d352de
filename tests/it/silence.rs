//! A database that hangs closes no connection and answers nothing. Nobody waits for it longer than the time limit, and nothing
//! is left behind that would still wait for it when another machine answers.

use std::thread;

use identityd::settings::{PostgresLayer, WireLayer};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Caller, Tap, World, eventually};

/// A service that waits for a silent database for two seconds. Requests have no other limit that a test would live to see.
fn patient_world() -> (Tap, World) {
    let postgres = PostgresLayer { database_timeout_seconds: Some(2), ..PostgresLayer::default() };
    let wire = WireLayer { request_timeout_seconds: Some(3_600), ..WireLayer::default() };
    World::tapped_with_postgres(&postgres, wire)
}

fn follow(caller: &Caller) -> impl FnOnce() -> String + Send + 'static {
    let call = caller.call(Method::GET, "/events").header("Accept", "text/event-stream");
    let response = call.open().unwrap();
    // The error of a body that breaks off is as good an end as any.
    move || response.text().unwrap_or_default()
}

#[test]
fn whoever_waits_for_a_silent_database_is_told_so_and_another_machine_serves_at_once() {
    let (tap, world) = patient_world();
    let admin = world.admin();
    admin.create("alpha");
    let following = follow(&admin);
    // Here it is the same server that answers later: what hangs must not keep a lock.
    eventually("all is signed", || admin.get("/log/checkpoint").status == 200);
    world.database().wait_until_nobody_is_in_a_transaction();
    tap.hang();
    thread::scope(|scope| {
        // More readers than there are connections, and writes that wait behind each other.
        let mut asked: Vec<_> = (0..8).map(|_| scope.spawn(|| admin.get("/identities"))).collect();
        for number in 0..4 {
            let body = json!({"agent_handle": format!("late-{number}")});
            let admin = &admin;
            asked.push(scope.spawn(move || admin.post("/identities", &body)));
        }
        for answer in asked {
            let code = answer.join().unwrap().must_be(503).json()["code"].clone();
            assert!(code == "unavailable" || code == "outcome_unknown", "{code}");
        }
    });
    following();
    tap.carry_new_connections();
    eventually("it is ready", || world.stranger().raw("GET", "/readyz", b"").status == 200);
    thread::scope(|scope| {
        for number in 0..8 {
            let admin = &admin;
            scope.spawn(move || {
                // What was asked of the old machine may still have to be given up.
                let body = json!({"agent_handle": format!("early-{number}")});
                eventually("a create is carried out", || admin.post("/identities", &body).status == 201);
                eventually("a list is shown", || admin.get("/identities").status == 200);
            });
        }
    });
    // The signer signs, too, and followers are told.
    eventually("history is exported and signed", || {
        let export = admin.call(Method::GET, "/events").header("Accept", "application/x-ndjson").send();
        String::from_utf8_lossy(&export.bytes).contains("\"trailer\"")
    });
    assert_eq!(admin.get("/identities").ok().as_array().unwrap().len(), 9);
}
