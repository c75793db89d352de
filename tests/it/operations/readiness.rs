//! A database that answers and takes no events: the readiness probe says so, and says when it is over.

use std::collections::BTreeSet;

use identityd::roles::rights;
use identityd::settings::{PostgresLayer, WireLayer};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{Answer, Caller, World, eventually, wait};

/// Ways to break every write, and to mend it. The statements of the service itself stay as they are.
const FAULTS: [(&str, &str); 8] = [
    (
        "do $$ begin create table kept_heads as table organization_heads; delete from organization_heads; end $$",
        "do $$ begin insert into organization_heads select * from kept_heads; drop table kept_heads; end $$",
    ),
    (
        "alter table organization_heads drop constraint organization_heads_pkey",
        "alter table organization_heads add primary key (organization_id)",
    ),
    (
        "create rule no_heads as on insert to organization_heads do instead nothing",
        "drop rule no_heads on organization_heads",
    ),
    (
        "alter table events add constraint nothing_more check (position < 0) not valid",
        "alter table events drop constraint nothing_more",
    ),
    (
        "alter table name_claims rename column name to label",
        "alter table name_claims rename column label to name",
    ),
    (
        "alter table idempotency_records rename to kept_answers",
        "alter table kept_answers rename to idempotency_records",
    ),
    ("alter table ciphertexts rename to contents", "alter table contents rename to ciphertexts"),
    (
        "alter table read_model.vault_secrets add constraint no_more check (false) not valid",
        "alter table read_model.vault_secrets drop constraint no_more",
    ),
];

/// A trial is made once a second at most.
fn becomes(world: &World, status: u16) -> Answer {
    let mut answer = world.stranger().raw("GET", "/readyz", b"");
    eventually("the readiness changes", || {
        answer = world.stranger().raw("GET", "/readyz", b"");
        answer.status == status
    });
    answer
}

#[test]
fn a_database_that_takes_no_events_is_not_ready() {
    let world = World::new();
    becomes(&world, 200);
    for (breaks, heals) in FAULTS {
        world.database().execute(breaks);
        let answer = becomes(&world, 503);
        assert!(answer.detail().to_string().contains("Events cannot be written"), "{breaks}: {answer}");
        world.database().execute(heals);
        becomes(&world, 200);
    }
    world.admin().create("alpha");
}

// Each right that is granted again makes the probe name the next one.
#[test]
fn every_right_that_requests_need_is_asked_for() {
    let world = World::new();
    world.database().execute(
        "do $$ begin
             execute 'revoke all on all tables in schema public from identityd_test_service';
             execute 'revoke all on all tables in schema read_model from identityd_test_service';
         end $$",
    );
    let mut lacking = BTreeSet::new();
    becomes(&world, 503);
    loop {
        let answer = world.stranger().raw("GET", "/readyz", b"");
        let detail = answer.detail().to_string();
        let Some((_, right)) = detail.split_once("The role of the service has no right to ") else { break };
        let right = right.trim_end_matches('"');
        assert!(lacking.insert(right.to_owned()), "{right} is granted");
        world.database().execute(&format!("grant {right} to identityd_test_service"));
    }
    let needed = rights::needed().into_iter().map(|(table, privilege)| format!("{privilege} on {table}"));
    assert_eq!(lacking, needed.collect());
    becomes(&world, 200);
    world.admin().create("alpha");
}

// The connection of the probe is there still, and so is that of the committer.
#[test]
fn requests_that_get_no_connection_are_noticed() {
    let world = World::with_server_of_its_own(&PostgresLayer::default());
    becomes(&world, 200);
    let limit = |connections| {
        world
            .database()
            .execute(&format!("alter role identityd_test_service connection limit {connections}"));
    };
    limit(0);
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where usename = 'identityd_test_service' and application_name = 'identityd'";
    assert!(world.database().number(ended) > 0);
    world.admin().get("/identities/").must_be(503);
    let detail = becomes(&world, 503).detail().to_string();
    assert!(detail.contains("no connection"), "{detail}");
    limit(-1);
    becomes(&world, 200);
    world.admin().get("/identities/").must_be(200);
}

// The connections of requests and of the probe are older, and may still write.
#[test]
fn a_committer_that_gets_no_session_that_may_write_is_noticed() {
    let world = World::with_server_of_its_own(&PostgresLayer::default());
    becomes(&world, 200);
    let role = "alter role identityd_test_service";
    world.database().execute(&format!("{role} set default_transaction_read_only = on"));
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where application_name = 'identityd committer'";
    assert!(world.database().number(ended) > 0);
    world.admin().post("/identities", &json!({"agent_handle": "alpha"})).must_be(503);
    becomes(&world, 503);
    world.database().execute(&format!("{role} reset default_transaction_read_only"));
    becomes(&world, 200);
    world.admin().create("alpha");
}

// The pool may have more connections, and the server has no room for them.
#[test]
fn requests_that_wait_in_vain_for_connections_are_noticed() {
    let postgres = PostgresLayer { database_connections: Some(8), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    becomes(&world, 200);
    let (admin, other) = (world.admin(), world.other_admin());
    // `whoami` reads this table, and no write does.
    let mut elsewhere = wait(PgConnection::connect(world.database().owner_url())).unwrap();
    wait(elsewhere.execute("begin; lock table api_key_uses in access exclusive mode")).unwrap();
    let ask = |caller: &Caller| {
        let mut line = caller.connect();
        line.send(caller.head("GET", "/api/whoami", 0));
        line
    };
    let busy = [ask(&admin), ask(&admin)];
    let of_requests = "from pg_stat_activity where application_name = 'identityd'";
    let locked = format!("select count(*) {of_requests} and wait_event_type = 'Lock'");
    eventually("two requests wait for the lock", || world.database().number(&locked) >= 2);
    let limit = |connections| {
        world
            .database()
            .execute(&format!("alter role identityd_test_service connection limit {connections}"));
    };
    limit(0);
    let end_idle = format!("select count(pg_terminate_backend(pid)) {of_requests} and state = 'idle'");
    eventually("no connection is idle", || world.database().number(&end_idle) == 0);
    let in_vain = ask(&other);
    let detail = becomes(&world, 503).detail().to_string();
    assert!(detail.contains("no connection"), "{detail}");
    wait(elsewhere.close()).unwrap();
    limit(-1);
    becomes(&world, 200);
    drop((busy, in_vain));
}

#[test]
fn who_keeps_the_head_of_the_log_locked_is_noticed() {
    let world = World::new();
    let mut elsewhere = wait(PgConnection::connect(world.database().owner_url())).unwrap();
    wait(elsewhere.execute("begin; select from log_head for update")).unwrap();
    becomes(&world, 503);
    wait(elsewhere.close()).unwrap();
    becomes(&world, 200);
}

// The committer remembers the heads of the organizations that it has written to.
#[test]
fn a_write_whose_head_is_missing_is_tried_again_later() {
    for heads in ["organization_heads", "log_head"] {
        let world = World::new();
        world.admin().create("alpha");
        let world = world.restarted_after(|database| {
            database.execute(&format!("create table kept as table {heads}"));
        });
        world.database().execute(&format!("delete from {heads}"));
        world.admin().post("/identities/", &json!({ "agent_handle": "bravo" })).must_be(503);
        becomes(&world, 503);
        world.database().execute(&format!("insert into {heads} select * from kept"));
        becomes(&world, 200);
        world.admin().create("bravo");
    }
}

// A process that has just committed needs no trial, unless a write has failed since.
#[test]
fn a_write_that_fails_is_noticed_at_once() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    world.database().execute("alter table name_claims rename to claims");
    becomes(&world, 200);
    admin.post("/identities/", &json!({ "agent_handle": "bravo" })).must_be(503);
    becomes(&world, 503);
    world.database().execute("alter table claims rename to name_claims");
    becomes(&world, 200);
    admin.create("bravo");
}

#[test]
fn a_trial_leaves_nothing_behind() {
    let (tap, world) = World::tapped(WireLayer::default());
    let trials = || tap.count(|text, _| text.contains("insert into events"));
    let counts = || {
        let tables = world.database().text(
            "select string_agg(format('select %L || count(*) as line from %I.%I', relname || ' ', nspname, relname), ' union all ')
             from pg_class join pg_namespace as namespace on namespace.oid = relnamespace
             where relkind = 'r' and nspname in ('public', 'read_model') and relname not in ('checkpoints', 'merkle_tiles')",
        );
        world
            .database()
            .text(&format!("select string_agg(line, ', ' order by line) from ({tables}) as lines"))
    };
    // Which process is the sole one changes by itself.
    let head =
        || world.database().text("select concat_ws(' ', position, generation, recorded_at) from log_head");
    let (before, position) = (counts(), head());
    let tried = trials();
    becomes(&world, 200);
    assert!(trials() > tried, "nothing was tried");
    assert_eq!(counts(), before);
    assert_eq!(head(), position);
    world.admin().create("alpha");
}

#[test]
fn a_clock_that_has_jumped_ahead_is_noticed_until_it_is_right_again() {
    let (tap, world) = World::tapped(WireLayer::default());
    let admin = world.admin();
    tap.set_clock_ahead(true);
    admin.post("/identities/", &json!({ "agent_handle": "alpha" })).must_be(503);
    // Nobody may send writes any more to a service that is not ready, so its probe has to look at the clock.
    for _ in 0..2 {
        let answer = world.stranger().raw("GET", "/readyz", b"").must_be(503);
        assert!(answer.detail().to_string().contains("clock of the database has jumped ahead"), "{answer}");
    }
    let seen = admin.metrics();
    seen.has("identityd_clock_jumped", 1.0);
    seen.has("identityd_ready", 0.0);
    seen.has("identityd_database_up", 1.0);
    tap.set_clock_ahead(false);
    becomes(&world, 200);
    admin.metrics().has("identityd_clock_jumped", 0.0);
    admin.create("alpha");
}
