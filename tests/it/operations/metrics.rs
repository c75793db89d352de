//! `/metrics`, scraped as Prometheus does.

use identityd::settings::PostgresLayer;
use serde_json::json;

use crate::harness::{Database, World, eventually};

#[test]
fn requests_are_counted_by_route_and_status() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.create("beta");
    admin.get("/identities/alpha").ok();
    admin.get("/identities/nobody").refused(404);
    world.holder_of("wrong").get("/identities/alpha").refused(401);
    world.stranger().get("/nowhere").must_be(404);
    let seen = admin.metrics();
    let requests = |method: &str, route: &str, status: u16| {
        format!("identityd_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
    };
    seen.has(&requests("POST", "/api/v1/identities/", 201), 2.0);
    seen.has(&requests("GET", "/api/v1/identities/{agent_handle}", 200), 1.0);
    seen.has(&requests("GET", "/api/v1/identities/{agent_handle}", 404), 1.0);
    seen.has(&requests("GET", "/api/v1/identities/{agent_handle}", 401), 1.0);
    seen.has(&requests("GET", "-", 404), 1.0);
    let durations = "identityd_http_request_duration_seconds_count{method=\"GET\",\
                     route=\"/api/v1/identities/{agent_handle}\"}";
    seen.has(durations, 3.0);
    seen.has("identityd_http_requests_in_flight", 0.0);
    seen.has("identityd_http_refused_keys_total", 1.0);
}

#[test]
fn commits_are_counted_with_what_was_in_them() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    admin.post("/identities/", &json!({"agent_handle": "alpha"})).handle_unavailable("identities");
    let seen = admin.metrics();
    seen.has("identityd_commands_total{outcome=\"appended\"}", 1.0);
    seen.has("identityd_commands_total{outcome=\"refused\"}", 1.0);
    seen.has("identityd_commits_total", 2.0);
    seen.has("identityd_commit_commands_sum", 2.0);
    seen.has("identityd_commit_duration_seconds_count", 2.0);
    seen.has("identityd_name_claims_total{outcome=\"taken\"}", 1.0);
    #[expect(clippy::cast_precision_loss, reason = "a test has few events")]
    seen.has("identityd_log_head_position", world.events() as f64);
    #[expect(clippy::cast_precision_loss, reason = "a test has few numbers")]
    seen.has("identityd_phone_numbers_free", world.free_numbers() as f64);
    seen.has("identityd_database_up", 1.0);
    assert!(seen.value("identityd_pool_connections_limit").is_some_and(|limit| limit > 0.0));
}

#[test]
fn no_name_id_or_key_of_anybody_is_shown() {
    let world = World::new();
    let agent = world.agent("secretive");
    agent.get("/identities/secretive").ok();
    agent.call(reqwest::Method::from_bytes(b"SECRETIVE").unwrap(), "/identities/secretive").send();
    let seen = agent.metrics();
    for secret in ["secretive", "SECRETIVE", &agent.id, &agent.key, &agent.key_id, world.organization_id()] {
        assert!(!seen.0.contains(secret), "{secret} is in {seen:?}");
    }
}

#[test]
fn nothing_but_reading_is_served_there() {
    let world = World::new();
    let answer = world.stranger().at_metrics().raw("POST", "/metrics", b"");
    assert_eq!(answer.headers["allow"], "GET,HEAD");
    assert_eq!(answer.json()["request_id"], answer.headers["x-request-id"].as_str());
    assert_eq!(answer.refused(405), "Method Not Allowed");
}

#[test]
fn a_database_that_is_away_leaves_the_numbers_of_the_process() {
    let world = World::new();
    world.admin().create("alpha");
    world.database().execute("alter table log_head rename to log_head_away");
    let seen = world.admin().metrics();
    seen.has("identityd_database_up", 0.0);
    seen.has("identityd_commits_total", 1.0);
    assert_eq!(seen.value("identityd_log_head_position"), None);
}

/// A database server that takes no writes until this is dropped, also if the test fails.
struct ReadOnly<'a>(&'a Database);

impl<'a> ReadOnly<'a> {
    fn make(database: &'a Database) -> Self {
        let read_only = Self(database);
        read_only.set("on");
        read_only
    }

    fn set(&self, value: &str) {
        self.0.execute(&format!("alter system set default_transaction_read_only = {value}"));
        self.0.execute("select pg_reload_conf()");
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        self.set("off");
    }
}

#[test]
fn a_service_that_is_not_ready_says_so_and_why() {
    let world = World::with_server_of_its_own(&PostgresLayer::default());
    let admin = world.admin();
    let seen = admin.metrics();
    seen.has("identityd_ready", 1.0);
    seen.has("identityd_database_read_only", 0.0);
    seen.has("identityd_clock_jumped", 0.0);
    seen.has("identityd_database_notification_queue_ratio", 0.0);
    assert!(seen.value("identityd_database_transaction_id_age").is_some_and(|age| age > 0.0));
    let read_only = ReadOnly::make(world.database());
    eventually("the service has noticed", || admin.metrics().value("identityd_ready") == Some(0.0));
    let seen = admin.metrics();
    seen.has("identityd_database_read_only", 1.0);
    seen.has("identityd_database_up", 1.0);
    world.stranger().raw("GET", "/readyz", b"").must_be(503);
    drop(read_only);
    eventually("the service has noticed", || admin.metrics().value("identityd_ready") == Some(1.0));
}

#[test]
fn the_address_of_the_api_shows_no_metrics() {
    let world = World::new();
    world.stranger().raw("GET", "/metrics", b"").must_be(404);
    let elsewhere = world.stranger().at_metrics().call(reqwest::Method::GET, "/identities").open().unwrap();
    assert_eq!(elsewhere.status(), 404);
}

// A pool may have very many numbers, so they are not counted for every scrape.
#[test]
fn numbers_are_not_counted_at_every_scrape() {
    let world = World::new();
    let free = world.admin().metrics().value("identityd_phone_numbers_free").unwrap();
    world.database().execute("delete from phone_number_pool");
    world.admin().metrics().has("identityd_phone_numbers_free", free);
}
