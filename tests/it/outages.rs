//! A database that goes away is an outage and no defect, whatever the service was doing.

use std::thread;

use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::harness::{World, wait};

/// Whether the committer waits for a lock, while it does this.
fn committer_waits(world: &World, at: &str) -> bool {
    let waiting = format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'identityd committer'
           and wait_event_type = 'Lock' and query like '%{at}%'"
    );
    world.database().number(&waiting) > 0
}

/// A connection beside the service.
fn connect(world: &World) -> PgConnection {
    wait(PgConnection::connect(world.database().url())).unwrap()
}

fn execute(connection: &mut PgConnection, statement: &str) {
    wait(sqlx::query(statement).execute(connection)).expect(statement);
}

#[test]
fn who_loses_the_database_while_an_answer_is_composed_is_told_to_come_again() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.open("alpha");
    let (mut writers_wait, mut readers_wait) = (connect(&world), connect(&world));
    execute(&mut writers_wait, "begin");
    execute(&mut writers_wait, "select from log_head for update");
    thread::scope(|scope| {
        let call = admin.call(Method::POST, "/identities/alpha/access").header("Idempotency-Key", "k1");
        let answer = scope.spawn(|| call.json(&json!({"viewer_identity_id": null})).send());
        while !committer_waits(&world, "log_head") {
            thread::yield_now();
        }
        // Only a transaction that composes an answer to a write that changes nothing reads this table.
        execute(&mut readers_wait, "begin");
        execute(&mut readers_wait, "lock table read_model.visibility in access exclusive mode");
        execute(&mut writers_wait, "rollback");
        while !committer_waits(&world, "visibility") {
            thread::yield_now();
        }
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and application_name = 'identityd committer'";
        execute(&mut writers_wait, cut);
        let answer = answer.join().unwrap().must_be(503);
        assert_eq!(answer.json()["code"], "unavailable");
        execute(&mut readers_wait, "rollback");
    });
}

#[test]
fn a_database_that_only_reads_or_that_broke_a_deadlock_will_do_later() {
    let world = World::new();
    let raised = |state: &str| {
        let statement = format!("do $$ begin raise exception using errcode = '{state}'; end $$");
        wait(sqlx::query(&statement).execute(world.database().pool())).unwrap_err()
    };
    for outage in ["08006", "25006", "25P03", "40P01", "53300", "55P03", "57P01"] {
        assert!(identity_log::is_outage(&raised(outage)), "{outage}");
    }
    for defect in ["22012", "23505", "25001", "42P01"] {
        assert!(!identity_log::is_outage(&raised(defect)), "{defect}");
    }
}
