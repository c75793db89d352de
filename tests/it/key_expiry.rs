//! Keys that expire. After its expiry a key is refused wherever a revoked key is refused.

use std::error::Error as _;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use identity_domain::Moment;
use identityd::operator::{Operator, Purpose};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::harness::{Caller, World, eventually, text, wait};

/// How long the keys of these tests are valid: long enough to send a request, and short enough that a test can wait until
/// they expire.
const SHORT: Duration = Duration::from_secs(4);

#[expect(clippy::disallowed_methods, reason = "a key expires at a moment from now on")]
fn from_now(duration: Duration) -> Moment {
    Moment::from(OffsetDateTime::now_utc()).plus(duration)
}

fn written(moment: Moment) -> Value {
    serde_json::to_value(moment).unwrap()
}

/// A caller whose admin key expires soon.
fn short_lived_admin(world: &World) -> Caller {
    let operator = Operator::new(world.database().pool().clone(), world.database().signing());
    let expires_at = Some(from_now(SHORT));
    let issuing = operator.issue_key_until(world.organization_id(), "short", Purpose::Admin, expires_at);
    world.holder_of(wait(issuing).unwrap().api_key.expose_secret())
}

fn is_refused(caller: &Caller) -> bool {
    caller.get("/api-keys/self").status == 401
}

#[track_caller]
fn expires(caller: &Caller) {
    eventually("the key has expired", || is_refused(caller));
}

#[test]
fn a_key_shows_when_it_expires() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let expires_at = "2035-06-01T00:00:00.123456Z";
    let asked = json!({"label": "l", "scoped_identity_id": alpha.id, "expires_at": "2035-06-01T02:00:00.1234567+02:00"});
    let minted = admin.post("/api-keys", &asked).created();
    let holder = world.holder_of(&text(&minted["api_key"]));
    for shown in [
        &minted["record"],
        &admin.list("/api-keys")[0],
        &holder.get("/api-keys/self").ok(),
        &holder.get("/api/whoami").ok(),
    ] {
        assert_eq!(shown["expires_at"], expires_at);
    }
    assert_eq!(minted["record"]["status"], "active");
    assert!(holder.client().whoami().is_ok() && holder.next().whoami().is_ok());
    let events = admin.events("event_type=api_key.issued");
    assert_eq!(events.last().unwrap()["payload"]["expires_at"], expires_at);
    assert_eq!(events[0]["payload"].get("expires_at"), None, "a key without an expiry is issued as ever");
}

#[test]
fn a_key_expires_in_the_future_and_within_ten_years() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let mint = |expires_at: &Value| {
        admin.post(
            "/api-keys",
            &json!({"label": "l", "scoped_identity_id": alpha.id, "expires_at": expires_at}),
        )
    };
    for unfit in [
        json!("2026-01-01T00:00:00Z"),
        written(from_now(Duration::from_hours(3654 * 24))),
        json!("9999-12-31T23:59:59.999999999Z"),
        json!("0000-01-01T00:00:00+00:01"),
        json!("2035-06-01T00:00:00"),
        json!("2035-06-01"),
        json!("tomorrow"),
        json!(2_000_000_000),
    ] {
        world.stores_nothing(|| mint(&unfit).invalid_at(&["body", "expires_at"]));
    }
    assert_eq!(mint(&Value::Null).created()["record"]["expires_at"], Value::Null);
}

#[test]
fn an_expired_key_is_refused_like_a_revoked_one() {
    let world = World::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let mint = |expires_at: Value| {
        let wish = json!({"label": "l", "scoped_identity_id": alpha.id, "expires_at": expires_at});
        admin.post("/api-keys", &wish).created()
    };
    let expired = world.holder_of(&text(&mint(written(from_now(SHORT)))["api_key"]));
    let kept = mint(Value::Null);
    let revoked = world.holder_of(&text(&kept["api_key"]));
    assert!(expired.sees("alpha"));
    let before = admin.get("/api-keys");
    admin.delete(&format!("/api-keys/{}", text(&kept["record"]["id"]))).no_content();
    expires(&expired);
    for path in ["/identities", "/identities/alpha", "/events", "/vault/secrets"] {
        let [expired, revoked] = [&expired, &revoked].map(|caller| caller.get(path).without_request_id());
        assert_eq!(expired, revoked, "{path}");
    }
    world.stores_nothing(|| expired.change("alpha", &json!({"display_name": "A"})).refused(401));
    let listed = admin.list("/api-keys");
    assert_eq!((&listed[1]["status"], &listed[1]["revoked_at"]), (&json!("revoked"), &Value::Null));
    let tag = &before.headers["etag"];
    let again = admin.call(Method::GET, "/api-keys").header("If-None-Match", tag).send();
    assert_eq!(again.status, 200, "the list is another since a key has expired");
    assert!(admin.delete(&format!("/api-keys/{}", text(&listed[1]["id"]))).status == 204);
}

#[test]
fn a_key_that_expires_while_the_body_is_awaited_does_nothing() {
    let world = World::new();
    for headers in ["", "Idempotency-Key: once\r\n"] {
        let caller = short_lived_admin(&world);
        let before = world.events();
        let body = br#"{"agent_handle": "late"}"#;
        let happens = || expires(&caller);
        let answer = caller.while_the_body_is_awaited("POST", "/api/v1/identities", headers, body, happens);
        answer.refused(401);
        assert_eq!(world.events(), before);
    }
}

#[test]
fn an_answer_that_was_kept_is_not_shown_to_a_key_that_expires_while_the_body_is_awaited() {
    let world = World::new();
    let caller = short_lived_admin(&world);
    let body = br#"{"agent_handle": "alpha"}"#;
    caller.call(Method::POST, "/identities").header("Idempotency-Key", "once").body(*body).send().created();
    let headers = "Idempotency-Key: once\r\n";
    let happens = || expires(&caller);
    caller.while_the_body_is_awaited("POST", "/api/v1/identities", headers, body, happens).refused(401);
}

// The next heartbeat, which would end the stream, comes in an hour.
#[test]
fn a_stream_that_has_nothing_to_say_ends_when_its_key_expires() {
    let world = World::with_heartbeat(Duration::from_hours(1));
    let caller = short_lived_admin(&world);
    let call =
        caller.call(Method::GET, "/events?event_type=identity.deleted").header("Accept", "text/event-stream");
    let mut lines = BufReader::new(call.open().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "retry: 1000");
    let end = lines.find_map(Result::err).expect("the stream is cut off");
    let timed_out = end.get_ref().and_then(|error| error.downcast_ref::<reqwest::Error>());
    assert!(timed_out.is_none_or(|error| !error.is_timeout()), "{end:?} {:?}", end.source());
    assert!(is_refused(&caller));
}

#[test]
fn a_key_that_expires_while_it_follows_sees_nothing_of_what_comes() {
    let world = World::new();
    let caller = short_lived_admin(&world);
    let call = caller.call(Method::GET, "/events").header("Accept", "text/event-stream");
    let mut stream = BufReader::new(call.open().unwrap()).lines();
    let known = world.admin().events("").len();
    let mut seen = stream.by_ref().map(Result::unwrap).filter(|line| line.starts_with("data: "));
    assert_eq!(seen.by_ref().take(known).count(), known);
    expires(&caller);
    world.admin().create("secret");
    let rest: Vec<String> = stream.map_while(Result::ok).filter(|line| line.contains("data")).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

// Moments have the form of contract, section 0.4, whatever the client sent.
#[test]
fn the_operator_issues_keys_that_expire() {
    let world = World::new();
    let operator = Operator::new(world.database().pool().clone(), world.database().signing());
    let issue = |expires_at: OffsetDateTime| {
        let expires_at = Some(Moment::from(expires_at));
        wait(operator.issue_key_until(world.organization_id(), "k", Purpose::Auditor, expires_at))
    };
    let issued = issue(datetime!(2035-06-01 00:00:00 UTC)).unwrap();
    let auditor = world.holder_of(issued.api_key.expose_secret());
    assert_eq!(auditor.get("/api/whoami").ok()["expires_at"], "2035-06-01T00:00:00.000000Z");
    let past = issue(datetime!(2026-01-01 00:00:00 UTC)).unwrap_err();
    assert_eq!(past.to_string(), "a key must expire in the future");
}
