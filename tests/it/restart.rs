//! A service that was stopped and started again gives the same answers. Scenario 50.

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{Agent, Caller, World, eventually, text, wait};

/// Everything that a caller can read, in one value.
fn view(caller: &Caller) -> Value {
    let identities = caller.identities();
    let single: Vec<Value> =
        identities.iter().map(|listed| caller.identity(&text(&listed["agent_handle"]))).collect();
    json!({
        "identities": identities,
        "single": single,
        "tunnels": caller.tunnels(),
        "mailboxes": caller.list("/mail/mailboxes"),
        "numbers": caller.list("/phone/numbers"),
    })
}

/// An organization with a history: renames, grants of each kind, a deletion.
fn with_a_past() -> World {
    let world = World::new();
    let admin = world.admin();
    let [alpha, _, carol, _] = world.agents(["alpha", "bravo", "carol", "delta"]);
    admin.grant("alpha", &carol.id).created();
    admin.open("bravo");
    admin.open("delta");
    admin.revoke("delta", &carol.id).no_content();
    admin.provision("alpha");
    admin.change("carol", &json!({"agent_handle": "carol-2", "display_name": null})).ok();
    let tunnel = text(&alpha.identity("alpha")["tunnel"]["id"]);
    alpha.patch(&format!("/tunnels/{tunnel}"), &json!({"metadata": {"a": 1}})).ok();
    admin.create("gone");
    admin.remove("gone");
    admin.register_secret("first");
    world
}

#[test]
fn everyone_sees_what_they_saw_before() {
    let world = with_a_past();
    let everyone = |world: &World| {
        let agents = world.agents(["alpha", "bravo", "carol", "delta"]);
        let mut views: Vec<Value> = agents.iter().map(|agent: &Agent| view(agent)).collect();
        views.push(view(&world.admin()));
        views
    };
    let before = everyone(&world);
    let world = world.restarted();
    assert_eq!(everyone(&world), before);
}

#[test]
fn rows_keep_their_ids_and_their_order() {
    let world = with_a_past();
    let rows = |world: &World| {
        ["alpha", "bravo", "carol-2", "delta"]
            .map(|handle| world.admin().list(&format!("/identities/{handle}/access")))
    };
    let before = rows(&world);
    let world = world.restarted();
    assert_eq!(rows(&world), before);
}

#[test]
fn what_was_decided_stays_decided() {
    let world = with_a_past();
    let revoked = world.agent("bravo");
    world.admin().delete(&format!("/api-keys/{}", revoked.key_id)).no_content();
    let world = world.restarted();
    let admin = world.admin();
    world.agent("bravo").get("/identities/").refused(401);
    for taken in ["gone", "carol", "alpha"] {
        world.stores_nothing(|| admin.try_create(taken, json!({})).handle_unavailable("identities"));
    }
    world
        .stores_nothing(|| admin.grant("bravo", &world.agent("alpha").id).refused_as(409, "redundant_grant"));
    assert!(world.agent("echo").sees("bravo"), "the wildcard still holds for those born later");
    assert!(!world.agent("echo").sees("delta"));
}

#[test]
fn a_restart_stores_nothing() {
    let world = with_a_past();
    let before = world.events();
    let world = world.restarted().restarted();
    assert_eq!(world.events(), before);
}

#[test]
fn the_pool_of_numbers_is_not_filled_twice() {
    let world = with_a_past();
    let before = world.free_numbers();
    let world = world.restarted();
    assert_eq!(world.free_numbers(), before);
}

#[test]
fn a_service_stops_although_somebody_keeps_every_table_locked() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let tables = world.database().text(
        "select string_agg(format('%I.%I', schemaname, tablename), ', ')
         from pg_tables where schemaname in ('public', 'read_model')",
    );
    let mut elsewhere = wait(PgConnection::connect(world.database().owner_url())).unwrap();
    wait(elsewhere.execute(format!("begin; lock table {tables} in access exclusive mode").as_str())).unwrap();
    admin.get("/whoami");
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    eventually("the signer and others wait", || world.database().number(waiting) > 2);
    drop(world);
}
