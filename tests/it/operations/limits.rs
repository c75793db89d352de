//! Limits on requests, and the headers that tell clients of them.

use std::num::NonZeroU32;

use identityd::settings::WireLayer;
use reqwest::Method;
use serde_json::json;

use super::shares::locked;
use crate::harness::{Answer, Refusal as _, World, eventually};

/// A limit that is reached after three requests, and that does not refill during a test.
fn three() -> Option<NonZeroU32> {
    NonZeroU32::new(3)
}

fn retry_after(answer: &Answer) -> u32 {
    answer.headers["retry-after"].parse().unwrap()
}

#[test]
fn without_settings_nothing_is_limited_and_nothing_is_said_of_limits() {
    let world = World::new();
    let answer = world.admin().get("/identities/");
    assert!(!answer.headers.keys().any(|name| name.starts_with("ratelimit")), "{:?}", answer.headers);
}

#[test]
fn a_key_is_told_what_remains_and_then_when_to_come_again() {
    let world = World::with_wire(WireLayer { key_requests_per_minute: three(), ..WireLayer::default() });
    let admin = world.admin();
    for remaining in [2, 1, 0] {
        let answer = admin.get("/identities/").must_be(200);
        assert_eq!(answer.headers["ratelimit-policy"], "\"key\";q=3;w=60");
        let full_in = 20 * (3 - remaining);
        assert_eq!(answer.headers["ratelimit"], format!("\"key\";r={remaining};t={full_in}"));
    }
    let answer = admin.get("/identities/");
    assert!((1..=20).contains(&retry_after(&answer)), "{answer}");
    assert_eq!(answer.headers["ratelimit"], "\"key\";r=0;t=60");
    assert_eq!(answer.json()["code"], "rate_limited");
    answer.refused(429);
    admin.client().list_identities().refused(429);
}

#[test]
fn one_key_does_not_use_up_what_another_may() {
    let world = World::with_wire(WireLayer { key_requests_per_minute: three(), ..WireLayer::default() });
    let admin = world.admin();
    for _ in 0..4 {
        admin.get("/identities/");
    }
    admin.get("/identities/").refused(429);
    world.other_admin().get("/identities/").ok();
    // Probes have no key, and are never limited.
    world.stranger().raw("GET", "/readyz", b"").must_be(200);
}

#[test]
fn an_organization_shares_its_quota() {
    let layer = WireLayer { organization_requests_per_minute: three(), ..WireLayer::default() };
    let world = World::with_wire(layer);
    let admin = world.admin();
    let auditor = world.auditor();
    let answer = admin.get("/identities/").must_be(200);
    assert_eq!(answer.headers["ratelimit"], "\"organization\";r=1;t=40");
    auditor.get("/events").must_be(200);
    auditor.get("/events").refused(429);
    admin.get("/identities/").refused(429);
    world.other_admin().get("/identities/").ok();
}

#[test]
fn a_write_that_may_be_repeated_costs_one_request() {
    let world = World::with_wire(WireLayer { key_requests_per_minute: three(), ..WireLayer::default() });
    let admin = world.admin();
    let create = || {
        let call = admin.call(Method::POST, "/identities/").header("Idempotency-Key", "once");
        call.json(&json!({"agent_handle": "alpha"})).send()
    };
    assert_eq!(create().headers["ratelimit"], "\"key\";r=2;t=20");
    assert_eq!(create().headers["ratelimit"], "\"key\";r=1;t=40");
}

#[test]
fn whoever_guesses_keys_is_refused_until_later_and_nobody_else_is() {
    let world = World::with_wire(WireLayer { refused_keys_per_minute: Some(3), ..WireLayer::default() });
    let admin = world.admin();
    admin.get("/identities/").ok();
    let late = world.auditor();
    let guesser = world.holder_of("wrong");
    for _ in 0..3 {
        guesser.get("/identities/").refused(401);
    }
    let answer = guesser.get("/identities/");
    assert!((1..=20).contains(&retry_after(&answer)), "{answer}");
    answer.refused(429);
    // A valid key is accepted, whether it is in the cache or not.
    late.get("/events").must_be(200);
    admin.get("/identities/").ok();
    // A request without a key does not count.
    world.stranger().get("/identities/").refused(401);
}

#[test]
fn a_budget_of_zero_is_no_limit() {
    let world = World::with_wire(WireLayer { refused_keys_per_minute: Some(0), ..WireLayer::default() });
    let guesser = world.holder_of("wrong");
    for _ in 0..20 {
        guesser.get("/identities/").refused(401);
    }
}

#[test]
fn more_requests_at_once_than_may_be_are_told_to_come_again() {
    let layer = WireLayer { max_requests: Some(1), ..WireLayer::default() };
    let world = World::with_wire(layer);
    let (admin, other) = (world.admin(), world.other_admin());
    // The probe of readiness makes no trial within ten seconds of a commit. A trial would need the lock.
    admin.create("bravo");
    let elsewhere = locked(&world);
    let mut held_up = admin.connect();
    let body = r#"{"agent_handle":"alpha"}"#;
    held_up.send(admin.head("POST", "/api/v1/identities/", body.len()) + body);
    // The task that looks at the log may wait for the lock, too.
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and application_name = 'identityd committer' and wait_event_type = 'Lock'";
    eventually("the write waits", || world.database().number(waiting) > 0);
    let answer = other.get("/identities/");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.json()["code"], "overloaded");
    answer.refused(503);
    world.stranger().raw("GET", "/healthz", b"").must_be(200);
    // It may say that the log is locked, but takes no share.
    assert_ne!(world.stranger().raw("GET", "/readyz", b"").json()["code"], "overloaded");
    drop(elsewhere);
    let answer = held_up.until_closed();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    other.get("/identities/").ok();
}

#[test]
fn a_request_that_takes_too_long_is_told_to_come_again() {
    let world = World::with_wire(WireLayer { request_timeout_seconds: Some(1), ..WireLayer::default() });
    let admin = world.admin();
    let elsewhere = locked(&world);
    let answer = admin.post("/identities/", &json!({"agent_handle": "alpha"}));
    assert!(retry_after(&answer) >= 1, "{answer}");
    assert_eq!(answer.json()["code"], "unavailable");
    answer.refused(503);
    admin.get("/identities/").ok();
    drop(elsewhere);
    admin.create("beta");
    admin.try_identity("alpha").refused(404);
}
