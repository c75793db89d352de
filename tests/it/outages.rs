//! An unavailable database is answered with 503, and not as a defect, whatever the service was doing.

use std::thread;

use identityd::settings::{PostgresLayer, WireLayer};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::harness::{World, eventually, wait};

/// Whether the committer waits for a lock in a statement that contains this text.
fn committer_waits(world: &World, at: &str) -> bool {
    let waiting = format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'identityd committer'
           and wait_event_type = 'Lock' and query like '%{at}%'"
    );
    world.database().number(&waiting) > 0
}

/// A connection of the test itself.
fn connect(world: &World) -> PgConnection {
    wait(PgConnection::connect(world.database().url())).unwrap()
}

fn execute(connection: &mut PgConnection, statement: &str) {
    wait(sqlx::query(statement).execute(connection)).expect(statement);
}

#[test]
fn who_loses_the_database_while_an_answer_is_stored_is_told_to_come_again() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.open("alpha");
    let (mut writers_wait, mut answers_wait) = (connect(&world), connect(&world));
    execute(&mut writers_wait, "begin");
    execute(&mut writers_wait, "select from log_head for update");
    thread::scope(|scope| {
        let call = admin.call(Method::POST, "/identities/alpha/access").header("Idempotency-Key", "k1");
        let answer = scope.spawn(|| call.json(&json!({"viewer_identity_id": null})).send());
        eventually("the committer waits for the head", || committer_waits(&world, "log_head"));
        // In this mode others read the table, and nobody writes to it.
        execute(&mut answers_wait, "begin");
        execute(&mut answers_wait, "lock table idempotency_records in exclusive mode");
        execute(&mut writers_wait, "rollback");
        eventually("the committer stores the answer", || {
            committer_waits(&world, "insert into idempotency_records")
        });
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and application_name = 'identityd committer'";
        execute(&mut writers_wait, cut);
        let answer = answer.join().unwrap().must_be(503);
        assert_eq!(answer.json()["code"], "unavailable");
        execute(&mut answers_wait, "rollback");
    });
}

#[test]
fn a_database_that_only_reads_or_that_broke_a_deadlock_will_do_later() {
    let world = World::new();
    let raised = |state: &str| {
        let statement = format!("do $$ begin raise exception using errcode = '{state}'; end $$");
        wait(sqlx::query(&statement).execute(world.database().pool())).unwrap_err()
    };
    for outage in [
        "08006", "0A000", "25006", "25P03", "28000", "28P01", "3D000", "3F000", "40001", "40P01", "42501",
        "42P01", "53100", "53300", "54000", "55006", "55P03", "57P01", "58030", "72000",
    ] {
        assert!(identity_log::is_outage(&raised(outage)), "{outage}");
    }
    for defect in ["22012", "23505", "25001", "42703", "XX001"] {
        assert!(!identity_log::is_outage(&raised(defect)), "{defect}");
    }
}

/// Makes the next inserts of events fail with this `SQLSTATE`, this many times.
fn inserts_fail(world: &World, state: &str, times: u32) {
    world.database().execute(&format!(
        "do $$ begin
             create sequence if not exists failures;
             perform setval('failures', 1, false);
             create or replace function fail() returns trigger language plpgsql security definer as $f$
             begin
                 -- Unlike a row, the value of a sequence stays when the transaction is rolled back.
                 if nextval('failures') <= {times} then raise exception 'failed' using errcode = '{state}'; end if;
                 return null;
             end $f$;
             create or replace trigger fails after insert on events for each statement execute function fail();
         end $$"
    ));
}

#[test]
fn a_write_that_a_state_of_postgres_stops_will_do_later() {
    let world = World::new();
    let admin = world.admin();
    for (number, state) in ["54000", "53100", "58030", "42501", "40001", "0A000"].into_iter().enumerate() {
        inserts_fail(&world, state, 1_000_000);
        let handle = format!("desk-{number}");
        let answer = admin.call(Method::POST, "/identities").json(&json!({"agent_handle": handle})).send();
        let answer = answer.must_be(503);
        assert_eq!(answer.json()["code"], "unavailable", "{state}");
        assert!(answer.headers.contains_key("retry-after"), "{state}");
        inserts_fail(&world, state, 0);
        admin.create(&handle);
    }
}

/// Postgres ends a transaction for the sake of another one, and the write is tried again. The client does not notice.
#[test]
fn a_write_that_only_came_at_a_bad_moment_is_carried_out() {
    let world = World::new();
    for (number, state) in ["40001", "40P01", "0A000"].into_iter().enumerate() {
        inserts_fail(&world, state, 1);
        world.admin().create(&format!("desk-{number}"));
    }
}

/// A default of the role is meant for people. The service sets its own values.
#[test]
fn defaults_of_the_database_do_not_matter() {
    let world = World::new().restarted_after(|database| {
        let name = database.text("select current_database()::text");
        for setting in [
            "default_transaction_isolation = 'serializable'",
            "statement_timeout = 1",
            "idle_session_timeout = 1",
            "idle_in_transaction_session_timeout = 1",
            "lock_timeout = 1",
            "standard_conforming_strings = off",
            "quote_all_identifiers = on",
        ] {
            database.execute(&format!("alter database {name} set {setting}"));
        }
    });
    let admin = world.admin();
    for number in 0..8 {
        admin.create(&format!("desk-{number}"));
        assert_eq!(admin.get("/identities").ok().as_array().unwrap().len(), number + 1);
    }
}

/// A pooler, a firewall or an operator may close idle connections.
#[test]
fn idle_connections_that_somebody_closed_are_noticed_before_they_are_used() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    let idle = "from pg_stat_activity
                where datname = current_database() and application_name like 'identityd%'";
    for round in 0..4 {
        let busy = format!("select count(*) {idle} and state_change > clock_timestamp() - interval '20 ms'");
        eventually("all connections are idle", || world.database().number(&busy) == 0);
        world.database().number(&format!("select count(pg_terminate_backend(pid)) {idle}"));
        admin.get("/identities").must_be(200);
        admin.create(&format!("after-{round}"));
    }
}

/// To recall a process that has died takes longer than the time limit allows.
#[test]
fn the_place_of_a_process_that_has_died_is_taken_under_any_time_limit() {
    let layer = PostgresLayer { database_timeout_seconds: Some(1), ..PostgresLayer::default() };
    let (_tap, world) = World::tapped_with_postgres(&layer, WireLayer::default());
    world.admin().create("alpha");
    world
        .database()
        .execute("update log_head set sole_process = gen_random_uuid(), sole_term = sole_term + 1");
    world.admin().create("bravo");
}

/// A role, a database or a server can be read-only for a while: managed services do that when a disk is full. A session keeps the
/// default with which it began.
#[test]
fn sessions_that_began_read_only_are_replaced_when_writes_are_taken_again() {
    let world = World::new();
    let admin = world.admin();
    let database = world.database().text("select current_database()");
    let of_role = format!("alter role identityd_test_service in database {database}");
    let settings = "default_transaction_read_only = on";
    world.database().execute(&format!("{of_role} set {settings}"));
    world.database().execute(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and usename = 'identityd_test_service'",
    );
    eventually("it is not ready", || world.stranger().raw("GET", "/readyz", b"").status == 503);
    eventually("reads are answered", || admin.get("/identities").status == 200);
    world.database().execute(&format!("{of_role} reset default_transaction_read_only"));
    eventually("writes are taken", || {
        admin.post("/identities", &json!({ "agent_handle": "alpha" })).status == 201
    });
    let events = world.events().to_string();
    eventually("what was written is signed", || {
        let checkpoint = admin.get("/log/checkpoint");
        String::from_utf8_lossy(&checkpoint.bytes).lines().nth(1) == Some(&events)
    });
    let behind = "select log_head.position - webhook_cursor.position from log_head, webhook_cursor";
    eventually("webhooks are queued", || world.database().number(behind) == 0);
}
