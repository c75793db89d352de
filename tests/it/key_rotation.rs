//! Rotation: a key gets a new text, the old text stays valid until the overlap ends, and everything else of the key
//! stays.

use std::thread;

use identityd::operator::{Operator, Purpose};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, NOBODY, World, eventually, text, wait};

/// A key of `alpha`: its id, and its text.
fn key_of_alpha(world: &World) -> (String, String) {
    let alpha = world.agent("alpha");
    (alpha.key_id.clone(), alpha.key.clone())
}

fn try_rotate(caller: &Caller, id: &str, body: &Value) -> Answer {
    caller.post(&format!("/api-keys/{id}/rotate"), body)
}

#[track_caller]
fn rotate(world: &World, id: &str, overlap: u64) -> Value {
    try_rotate(&world.admin(), id, &json!({"overlap_seconds": overlap})).ok()
}

fn opens(world: &World, key: &str) -> bool {
    world.holder_of(key).get("/api-keys/self").status == 200
}

#[test]
fn a_rotated_key_opens_with_both_texts_and_stays_the_same_key() {
    let world = World::new();
    let (id, old) = key_of_alpha(&world);
    let before = world.holder_of(&old).get("/api-keys/self").ok();
    let rotated = rotate(&world, &id, 3600);
    let (new, record) = (text(&rotated["api_key"]), &rotated["record"]);
    assert!(opens(&world, &old) && opens(&world, &new) && old != new);
    for same in
        ["id", "label", "scope", "scoped_identity_id", "created_by", "created_at", "expires_at", "status"]
    {
        assert_eq!(record[same], before[same], "{same}");
    }
    assert!(new.ends_with(&text(&record["last4"])));
    assert!(text(&record["updated_at"]) > text(&before["updated_at"]));
    assert!(text(&record["previous_valid_until"]) > text(&record["updated_at"]));
    assert_eq!(world.holder_of(&new).get("/api-keys/self").ok()["last4"], record["last4"]);
    let event = world.admin().events("event_type=api_key.rotated").pop().unwrap();
    assert_eq!(event["payload"]["previous_valid_until"], record["previous_valid_until"]);
    assert_eq!(event["payload"].get("expires_at"), None);
    let admin_id = world.admin_key().split_once('.').unwrap().0;
    assert_eq!(event["metadata"]["actor"], admin_id);
    for writer in [&old, &new] {
        world.holder_of(writer).change("alpha", &json!({"display_name": writer[writer.len() - 4..]})).ok();
    }
}

#[test]
fn without_a_wish_the_old_text_opens_for_a_day() {
    let world = World::new();
    let (id, _) = key_of_alpha(&world);
    let record = try_rotate(&world.admin(), &id, &json!({})).ok()["record"].take();
    let moment = |name: &str| identity_domain::Moment::parse(&text(&record[name])).unwrap();
    let overlap = moment("previous_valid_until").since(moment("updated_at")).unwrap();
    assert_eq!(overlap, std::time::Duration::from_hours(24));
}

#[test]
fn the_old_text_ends_with_the_overlap() {
    let world = World::new();
    let (id, first) = key_of_alpha(&world);
    let second = text(&rotate(&world, &id, 1)["api_key"]);
    eventually("the first text has ended", || !opens(&world, &first));
    let third = text(&rotate(&world, &id, 0)["api_key"]);
    assert_eq!([&first, &second, &third].map(|key| opens(&world, key)), [false, false, true]);
    let gone = world.holder_of(&second).get("/identities").without_request_id();
    assert_eq!(gone, world.stranger().get("/identities").without_request_id());
}

#[test]
fn a_second_rotation_ends_the_oldest_text_at_once_and_a_revocation_ends_all() {
    let world = World::new();
    let (id, first) = key_of_alpha(&world);
    let [second, third] = [3600, 3600].map(|overlap| text(&rotate(&world, &id, overlap)["api_key"]));
    assert_eq!([&first, &second, &third].map(|key| opens(&world, key)), [false, true, true]);
    world.admin().delete(&format!("/api-keys/{id}")).no_content();
    assert_eq!([&second, &third].map(|key| opens(&world, key)), [false; 2]);
    let refused = try_rotate(&world.admin(), &id, &json!({}));
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("api_key_ended")));
}

#[test]
fn a_key_of_a_deleted_identity_is_not_rotated() {
    let world = World::new();
    let (id, _) = key_of_alpha(&world);
    world.admin().remove("alpha");
    let refused = world.stores_nothing(|| try_rotate(&world.admin(), &id, &json!({})));
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("api_key_ended")));
}

#[test]
fn a_rotation_may_change_the_expiry_and_otherwise_leaves_it() {
    let world = World::new();
    let (id, _) = key_of_alpha(&world);
    let until = |expires_at: &str| {
        try_rotate(&world.admin(), &id, &json!({"expires_at": expires_at})).ok()["record"]["expires_at"]
            .take()
    };
    assert_eq!(until("2034-01-01T00:00:00Z"), "2034-01-01T00:00:00.000000Z");
    assert_eq!(rotate(&world, &id, 0)["record"]["expires_at"], "2034-01-01T00:00:00.000000Z");
    assert_eq!(until("2033-01-01T00:00:00Z"), "2033-01-01T00:00:00.000000Z");
    let past = json!({"expires_at": "2020-01-01T00:00:00Z"});
    world.stores_nothing(|| try_rotate(&world.admin(), &id, &past).invalid_at(&["body", "expires_at"]));
}

#[test]
fn the_overlap_is_0_to_30_days() {
    let world = World::new();
    let (id, _) = key_of_alpha(&world);
    for unfit in [json!(-1), json!(2_592_001), json!(1.5), json!("60"), json!(true)] {
        let body = json!({"overlap_seconds": unfit});
        world.stores_nothing(|| {
            try_rotate(&world.admin(), &id, &body).invalid_at(&["body", "overlap_seconds"])
        });
    }
    rotate(&world, &id, 2_592_000);
    try_rotate(&world.admin(), &id, &json!({"overlap_seconds": null})).ok();
}

#[test]
fn an_admin_rotates_its_own_key_and_those_that_it_may_issue() {
    let world = World::new();
    let (id, agents) = key_of_alpha(&world);
    let admin = world.admin();
    let own = world.admin_key().split_once('.').unwrap().0.to_owned();
    let operator = Operator::new(world.database().pool().clone(), world.database().signing());
    let other = wait(operator.issue_key(world.organization_id(), "other", Purpose::Admin)).unwrap();
    let auditor = admin.mint_auditor();
    let foreign = text(&world.other_admin().list("/api-keys")[0]["id"]);
    world.stores_nothing(|| {
        try_rotate(&world.holder_of(&agents), &id, &json!({})).refused(403);
        try_rotate(&world.holder_of(&text(&auditor["api_key"])), &id, &json!({})).refused(403);
        try_rotate(&world.stranger(), &id, &json!({})).refused(401);
        try_rotate(&admin, &other.key_id, &json!({})).refused(403);
        try_rotate(&admin, &own, &json!({"expires_at": "2034-01-01T00:00:00Z"})).refused(403);
        for unknown in [foreign.as_str(), "nonsense", &format!("ApiKey_{NOBODY}")] {
            try_rotate(&admin, unknown, &json!({})).refused(404);
        }
    });
    try_rotate(&admin, &text(&auditor["record"]["id"]), &json!({})).ok();
    let renewed = text(&try_rotate(&admin, &own, &json!({"overlap_seconds": 0})).ok()["api_key"]);
    assert!(!opens(&world, world.admin_key()));
    world.holder_of(&renewed).create("bravo");
    assert!(opens(&world, other.api_key.expose_secret()));
}

// Somebody who has found the old secret must not lock out the owner of the new one.
#[test]
fn a_key_is_not_rotated_with_its_previous_secret() {
    let world = World::new();
    let (id, old) = (world.admin_key().split_once('.').unwrap().0.to_owned(), world.admin_key().to_owned());
    let new = text(&rotate(&world, &id, 3600)["api_key"]);
    let before = world.events();
    let answer = try_rotate(&world.holder_of(&old), &id, &json!({"overlap_seconds": 0})).must_be(403);
    assert!(answer.detail().to_string().contains("previous secret"), "{answer}");
    assert_eq!(world.events(), before);
    assert!(opens(&world, &new));
    try_rotate(&world.holder_of(&new), &id, &json!({})).ok();
}

#[test]
fn of_rotations_with_one_secret_at_the_same_time_one_is_carried_out() {
    let world = World::new();
    let (id, secret) =
        (world.admin_key().split_once('.').unwrap().0.to_owned(), world.admin_key().to_owned());
    let statuses: Vec<u16> = thread::scope(|scope| {
        let rotate = || try_rotate(&world.holder_of(&secret), &id, &json!({})).status;
        let rotations: Vec<_> = (0..12).map(|_| scope.spawn(rotate)).collect();
        rotations.into_iter().map(|rotation| rotation.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(200), count(403)), (1, 11), "{statuses:?}");
}

#[test]
fn a_repeated_rotation_is_done_once_and_shows_no_text() {
    let world = World::new();
    let (id, old) = key_of_alpha(&world);
    let send = || {
        let call = world.admin().call(Method::POST, &format!("/api-keys/{id}/rotate"));
        call.header("Idempotency-Key", "once").json(&json!({"overlap_seconds": 60})).send()
    };
    let first = send().ok();
    let again = world.stores_nothing(|| send().ok());
    assert_eq!((&again["api_key"], &again["record"]), (&Value::Null, &first["record"]));
    assert!(again["message"].is_string());
    assert!(opens(&world, &old) && opens(&world, &text(&first["api_key"])));
    let (_, secret) = first["api_key"].as_str().unwrap().split_once('.').unwrap();
    let kept =
        format!("select count(*) from idempotency_records where idempotency_records::text like '%{secret}%'");
    assert_eq!(world.database().number(&kept), 0);
}

#[test]
fn a_rotation_honours_if_match() {
    let world = World::new();
    let (id, _) = key_of_alpha(&world);
    let send = |tag: &str| {
        let call =
            world.admin().call(Method::POST, &format!("/api-keys/{id}/rotate")).header("If-Match", tag);
        call.json(&json!({})).send()
    };
    let rotated = send("\"1\"");
    let tag = rotated.headers["etag"].clone();
    rotated.ok();
    world.stores_nothing(|| send("\"1\"").must_be(412));
    send(&tag).ok();
}

#[test]
fn the_operator_rotates_any_key() {
    let world = World::new();
    let operator = Operator::new(world.database().pool().clone(), world.database().signing());
    let own = world.admin_key().split_once('.').unwrap().0;
    let rotated = wait(operator.rotate_key(own, std::time::Duration::ZERO, None)).unwrap();
    assert!(opens(&world, rotated.key.api_key.expose_secret()));
    eventually("the service knows of it", || !opens(&world, world.admin_key()));
    let unknown = wait(operator.rotate_key(&format!("ApiKey_{NOBODY}"), std::time::Duration::ZERO, None));
    assert!(unknown.unwrap_err().to_string().starts_with("there is no key"));
}
