//! Where commits wait for a standby and none confirms them, the database may be a primary that was replaced and does not know it.
//! What it says may be out of date, so the service does not pass it on.

use std::thread;

use identityd::settings::PostgresLayer;
use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{World, eventually, wait};

/// How many lookups of identities were answered from memory.
const HITS: &str = r#"identityd_cache_lookups_total{kind="identity",outcome="hit"}"#;

/// Makes commits wait for a standby with this name; for none without one.
fn commits_wait_for(world: &World, standby: &str) {
    world.database().execute(&format!("alter system set synchronous_standby_names = '{standby}'"));
    world.database().execute("select pg_reload_conf()");
}

/// Commits until a commit waits: Postgres reads its settings again some time after it was told to.
fn eventually_a_commit_waits(world: &World) {
    let url = world.database().owner_url().to_owned();
    let committing = thread::spawn(move || {
        let mut connection = wait(PgConnection::connect(&url)).unwrap();
        wait(connection.execute("set application_name = 'commits'")).unwrap();
        // The session ends when its commit waits.
        while wait(connection.execute("select pg_logical_emit_message(true, 'commits', '')")).is_ok() {}
    });
    let waiting = "from pg_stat_activity where application_name = 'commits' and wait_event = 'SyncRep'";
    eventually("a commit waits", || world.database().number(&format!("select count(*) {waiting}")) == 1);
    world.database().number(&format!("select count(pg_terminate_backend(pid)) {waiting}"));
    committing.join().unwrap();
}

/// Commits wait for a standby that does not exist, until this is dropped: a service could not stop meanwhile.
struct Waiting<'a>(&'a World);

impl<'a> Waiting<'a> {
    fn begin(world: &'a World) -> Self {
        commits_wait_for(world, "nobody");
        eventually_a_commit_waits(world);
        Self(world)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        commits_wait_for(self.0, "");
    }
}

#[test]
fn nothing_is_read_from_a_primary_that_no_standby_confirms() {
    let postgres = PostgresLayer { max_unconfirmed_seconds: Some(1), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    let (admin, stranger) = (world.admin(), world.stranger());
    admin.create("alpha");
    let waiting = Waiting::begin(&world);
    thread::scope(|scope| {
        let created = scope.spawn(|| admin.post("/identities", &json!({"agent_handle": "beta"})));
        for path in ["/identities", "/identities/alpha", "/events", "/api-keys"] {
            eventually("a read is refused", || admin.get(path).status == 503);
            assert_eq!(admin.get(path).must_be(503).json()["code"], "unavailable");
        }
        let not_ready = stranger.raw("GET", "/readyz", b"").must_be(503);
        assert!(not_ready.detail().as_str().unwrap().contains("standby"), "{:?}", not_ready.detail());
        stranger.raw("GET", "/healthz", b"").must_be(200);
        drop(waiting);
        created.join().unwrap().created();
    });
    eventually("reads are answered again", || admin.get("/identities/alpha").status == 200);
    stranger.raw("GET", "/readyz", b"").must_be(200);
    assert_eq!(admin.get("/identities").ok().as_array().unwrap().len(), 2);
}

/// Postgres reports success, too, when an operator cancels the wait for a standby.
#[test]
fn a_commit_whose_wait_for_a_standby_was_cancelled_is_not_acknowledged() {
    let world = World::with_server_of_its_own(&PostgresLayer::default());
    let admin = world.admin();
    let waiting = Waiting::begin(&world);
    thread::scope(|scope| {
        let created = scope.spawn(|| admin.post("/identities", &json!({"agent_handle": "alpha"})));
        let wait =
            "from pg_stat_activity where application_name = 'identityd committer' and wait_event = 'SyncRep'
                                                and query_start < clock_timestamp() - interval '300 ms'";
        eventually("the commit waits for a standby", || {
            world.database().number(&format!("select count(*) {wait}")) == 1
        });
        world.database().text(&format!("select bool_and(pg_cancel_backend(pid))::text {wait}"));
        assert_eq!(created.join().unwrap().must_be(503).json()["code"], "outcome_unknown");
    });
    drop(waiting);
}

/// Where the record that changes nothing may not be written, a commit confirms all the same, or does not.
#[test]
fn a_server_that_reserves_its_functions_is_no_confirmed_primary() {
    let postgres = PostgresLayer { max_unconfirmed_seconds: Some(1), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    let admin = world.admin();
    world
        .database()
        .execute("revoke execute on function pg_logical_emit_message(boolean, text, text) from public");
    admin.create("alpha");
    world.stranger().raw("GET", "/readyz", b"").must_be(200);
    let waiting = Waiting::begin(&world);
    eventually("a read is refused", || admin.get("/identities/alpha").status == 503);
    world.stranger().raw("GET", "/readyz", b"").must_be(503);
    drop(waiting);
    eventually("reads are answered again", || admin.get("/identities/alpha").status == 200);
}

#[test]
fn what_is_kept_in_memory_is_not_trusted_without_a_confirmation() {
    let postgres = PostgresLayer { max_unconfirmed_seconds: Some(3_600), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    let admin = world.admin();
    admin.create("alpha");
    let hits = || admin.metrics().value(HITS);
    let waiting = Waiting::begin(&world);
    eventually("every read is answered from the database", || {
        let before = hits();
        admin.get("/identities/alpha").ok();
        hits() == before
    });
    drop(waiting);
    eventually("reads are answered from memory again", || {
        let before = hits();
        admin.get("/identities/alpha").ok();
        hits() > before
    });
}

#[test]
fn a_create_that_was_carried_out_after_all_is_answered_when_it_is_sent_again() {
    let postgres = PostgresLayer { database_timeout_seconds: Some(2), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    let (admin, body) = (world.admin(), json!({"agent_handle": "alpha", "description": "the first"}));
    let waiting = Waiting::begin(&world);
    let unknown = admin.post("/identities", &body).must_be(503);
    assert_eq!(unknown.json()["code"], "outcome_unknown");
    drop(waiting);
    eventually("the identity is there", || admin.get("/identities/alpha").status == 200);
    let events = world.events();
    let made = admin.post("/identities", &body).created();
    assert_eq!(made, admin.get("/identities/alpha").ok());
    assert_eq!(world.events(), events);
    let other = json!({"agent_handle": "alpha", "description": "another"});
    admin.post("/identities", &other).refused_as(409, "agent_handle_unavailable");
    let another = world.another_admin(world.organization_id());
    let another = world.holder_of(another.api_key.expose_secret());
    another.post("/identities", &body).refused_as(409, "agent_handle_unavailable");
}
