//! `Idempotency-Key`: a write that is sent again gets the same answer, and is carried out once (D30).

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Caller, World, eventually, wait};

fn create(world: &World, key: &str, handle: &str) -> Answer {
    let body = json!({ "agent_handle": handle });
    world.admin().call(Method::POST, "/identities").header("Idempotency-Key", key).json(&body).send()
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|replayed| replayed == "true")
}

#[test]
fn the_same_request_under_the_same_key_is_done_once_and_answered_twice_byte_for_byte() {
    let world = World::new();
    let first = create(&world, "k1", "alpha");
    assert!(!is_replayed(&first));
    let second = world.stores_nothing(|| create(&world, "k1", "alpha"));
    assert!(is_replayed(&second));
    assert_eq!((second.status, &second.bytes), (201, &first.bytes));
}

#[test]
fn every_kind_of_write_may_be_repeated() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let phone = json!({ "agent_handle": "alpha", "state": "NY" });
    let writes = [
        (Method::PATCH, "/identities/alpha".to_owned(), json!({ "description": "x" })),
        (Method::POST, "/identities/alpha/access".to_owned(), json!({ "viewer_identity_id": bravo.id })),
        (Method::DELETE, format!("/identities/alpha/access/{}", bravo.id), json!({})),
        (Method::POST, "/phone/numbers".to_owned(), phone),
        (Method::DELETE, "/identities/alpha/phone_number".to_owned(), json!({})),
        (Method::PATCH, "/mail/mailboxes/alpha".to_owned(), json!({ "filter_mode": "whitelist" })),
        (Method::POST, "/vault/secrets".to_owned(), json!({ "name": "s" })),
        (Method::POST, "/api-keys".to_owned(), json!({ "label": "k", "scoped_identity_id": alpha.id })),
        (Method::DELETE, "/identities/bravo".to_owned(), json!({})),
    ];
    for (method, path, body) in writes {
        let send = || {
            let call = world.admin().call(method.clone(), &path);
            call.header("Idempotency-Key", &format!("{method}{path}")).json(&body).send()
        };
        let first = send();
        assert!(first.status < 300, "{path}: {}", first.status);
        let again = world.stores_nothing(send);
        assert!(is_replayed(&again) && again.status == first.status, "{path}");
        assert_eq!(again.headers["etag"], first.headers["etag"], "{path}");
        if path != "/api-keys" {
            assert_eq!(again.bytes, first.bytes, "{path}");
        }
    }
}

#[test]
fn another_request_under_a_used_key_is_refused() {
    let world = World::new();
    create(&world, "k1", "alpha").created();
    world.stores_nothing(|| create(&world, "k1", "bravo")).refused_as(409, "idempotency_key_reused");
    let call = world.admin().call(Method::DELETE, "/identities/alpha").header("Idempotency-Key", "k1");
    world.stores_nothing(|| call.send()).refused_as(409, "idempotency_key_reused");
}

#[test]
fn a_request_is_another_by_its_method_or_its_path_alone() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let send = |method: &Method, path: &str, key: &str| {
        world.admin().call(method.clone(), path).header("Idempotency-Key", key).json(&json!({})).send()
    };
    send(&Method::PATCH, "/identities/alpha", "k1").ok();
    for (method, path) in [(Method::DELETE, "/identities/alpha"), (Method::PATCH, "/identities/bravo")] {
        world.stores_nothing(|| send(&method, path, "k1")).refused_as(409, "idempotency_key_reused");
    }
    send(&Method::PATCH, "/identities/alpha?x=1", "k1").refused_as(409, "idempotency_key_reused");
    assert!(is_replayed(&send(&Method::PATCH, "/identities/alpha", "k1")));
    assert!(alpha.sees("alpha") && bravo.sees("bravo"));
}

#[test]
fn a_key_belongs_to_its_organization() {
    let world = World::new();
    create(&world, "k1", "alpha").created();
    let body = json!({ "agent_handle": "bravo" });
    let call =
        world.other_admin().call(Method::POST, "/identities").header("Idempotency-Key", "k1").json(&body);
    assert_eq!(call.send().created()["agent_handle"], "bravo");
}

#[test]
fn nobody_is_answered_what_somebody_else_was() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    create(&world, "k1", "carol").created();
    let body = json!({ "agent_handle": "carol" });
    let call = alpha.call(Method::POST, "/identities").header("Idempotency-Key", "k1").json(&body);
    call.send().refused(403);
    let rename = |agent: &Caller| {
        let call = agent.call(Method::PATCH, "/identities/alpha").header("Idempotency-Key", "k2");
        call.json(&json!({ "description": "mine" })).send()
    };
    rename(&alpha).ok();
    rename(&bravo).refused(404);
    assert!(is_replayed(&rename(&alpha)));
}

/// Only a request that would be carried out with another key is told that this one was used.
#[test]
fn a_used_key_is_the_last_reason_to_refuse_a_request() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let send = |method: Method, path: &str, body: Value| {
        alpha.call(method, path).header("Idempotency-Key", "k1").json(&body).send()
    };
    send(Method::PATCH, "/identities/alpha", json!({ "description": "x" })).ok();
    let other = json!({ "agent_handle": "carol", "description": "y" });
    world.stores_nothing(|| send(Method::POST, "/identities", other.clone()).refused(403));
    world.stores_nothing(|| send(Method::DELETE, "/identities/alpha", json!({})).refused(403));
    world.stores_nothing(|| send(Method::PATCH, "/identities/bravo", json!({})).refused(404));
    assert!(bravo.sees("bravo"));
    let reused = "idempotency_key_reused";
    world.stores_nothing(|| send(Method::PATCH, "/identities/alpha", other.clone()).refused_as(409, reused));
    world.stores_nothing(|| send(Method::PATCH, "/identities/alpha", json!({})).refused_as(409, reused));
}

// Otherwise an agent could find out which keys an admin has used, and use keys that it guesses.
#[test]
fn an_agent_uses_up_no_key_of_an_admin() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let describe = |caller: &Caller, text: &str| {
        let call = caller.call(Method::PATCH, "/identities/alpha").header("Idempotency-Key", "k1");
        call.json(&json!({ "description": text })).send()
    };
    describe(&alpha, "by itself").ok();
    assert_eq!(describe(&world.admin(), "by its admin").ok()["description"], "by its admin");
    assert!(is_replayed(&describe(&alpha, "by itself")));
    assert!(is_replayed(&describe(&world.admin(), "by its admin")));
    describe(&alpha, "something else").refused_as(409, "idempotency_key_reused");
}

// A record of a version in which idempotency keys had no scope.
#[test]
fn a_record_without_a_scope_counts_for_everybody() {
    let world = World::new();
    let first = create(&world, "k1", "alpha");
    world.database().execute("update idempotency_records set scope = ''");
    let again = create(&world, "k1", "alpha");
    assert!(is_replayed(&again));
    assert_eq!(again.bytes, first.bytes);
    create(&world, "k1", "bravo").refused_as(409, "idempotency_key_reused");
}

#[test]
fn a_request_that_failed_leaves_its_key_free() {
    let world = World::new();
    create(&world, "k1", "a_b").must_be(422);
    create(&world, "k2", "alpha").created();
    create(&world, "k1", "alpha").must_be(409);
    create(&world, "k1", "bravo").created();
}

#[test]
fn a_write_that_changed_nothing_is_remembered_too() {
    let world = World::new();
    world.admin().create("alpha");
    let patch = |body: Value| {
        world
            .admin()
            .call(Method::PATCH, "/identities/alpha")
            .header("Idempotency-Key", "k")
            .json(&body)
            .send()
    };
    patch(json!({})).ok();
    patch(json!({ "description": "x" })).refused_as(409, "idempotency_key_reused");
}

#[test]
fn a_repeated_issue_of_a_key_never_shows_the_secret_again() {
    let world = World::new();
    let alpha = world.agent("alpha");
    let issue = || {
        let body = json!({ "label": "once", "scoped_identity_id": alpha.id });
        world
            .admin()
            .call(Method::POST, "/api-keys")
            .header("Idempotency-Key", "k")
            .json(&body)
            .send()
            .created()
    };
    let first = issue();
    let again = issue();
    assert_eq!(first["record"], again["record"]);
    assert_eq!(again["api_key"], Value::Null);
    assert!(again["message"].as_str().unwrap().contains("not shown again"));
    let secret = first["api_key"].as_str().unwrap().split_once('.').unwrap().1.to_owned();
    let kept = world
        .database()
        .number(&format!("select count(*) from idempotency_records where body like '%{secret}%'"));
    assert_eq!(kept, 0, "the secret is kept nowhere");
}

#[test]
fn a_key_that_is_no_key_is_refused() {
    let world = World::new();
    for key in ["", " ", "two words", &"x".repeat(256)] {
        world.stores_nothing(|| create(&world, key, "alpha")).must_be(422);
    }
    create(&world, &"x".repeat(255), "alpha").created();
}

#[test]
fn two_different_keys_are_none() {
    let world = World::new();
    let create = |keys: [&str; 2]| {
        let lines = keys.map(|key| format!("Idempotency-Key: {key}\r\n")).concat();
        let headers = format!("X-API-Key: {}\r\n{lines}", world.admin_key());
        world.stranger().raw_with(
            "POST",
            "/api/v1/identities",
            headers.as_bytes(),
            b"{\"agent_handle\":\"alpha\"}",
        )
    };
    world.stores_nothing(|| create(["k1", "k2"])).invalid_at(&["header", "idempotency-key"]);
    create(["k1", "k1"]).created();
    assert!(is_replayed(&create(["k1", "k1"])));
}

#[test]
fn fifty_at_once_under_one_key_have_one_effect_and_one_answer() {
    let world = World::new();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..50).map(|_| scope.spawn(|| create(&world, "k1", "alpha"))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let done: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(done.iter().filter(|answer| !is_replayed(answer)).count(), 1);
    assert!(done.iter().all(|answer| answer.bytes == done[0].bytes));
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.detail()["error"], "idempotency_in_progress");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(
        world.database().number("select count(*) from events where event_type = 'identity.created'"),
        1
    );
}

#[test]
fn while_one_is_being_answered_the_other_is_told_to_come_again() {
    let world = World::new();
    let mut writers_wait = wait(world.database().pool().begin()).unwrap();
    wait(sqlx::query("select from log_head for update").execute(&mut *writers_wait)).unwrap();
    let (answer, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for answer in [answer.clone(), answer] {
            let world = &world;
            scope.spawn(move || answer.send(create(world, "k1", "alpha")).unwrap());
        }
        let turned_away = answers.recv().unwrap();
        assert_eq!(turned_away.headers["retry-after"], "1");
        turned_away.refused_as(409, "idempotency_in_progress");
        wait(writers_wait.rollback()).unwrap();
        answers.recv().unwrap().created();
    });
}

#[test]
fn a_repetition_is_answered_after_a_restart_too() {
    let world = World::new();
    let first = create(&world, "k1", "alpha");
    let world = world.restarted();
    let again = create(&world, "k1", "alpha");
    assert!(is_replayed(&again));
    assert_eq!((again.bytes, &again.headers["etag"]), (first.bytes, &first.headers["etag"]));
}

#[test]
fn a_repetition_is_answered_by_another_service_too() {
    let world = World::new();
    let beside = world.beside();
    let admin = beside.holder_of(world.admin_key());
    let first = create(&world, "k1", "alpha");
    let there = |handle: &str| {
        let call = admin.call(Method::POST, "/identities").header("Idempotency-Key", "k1");
        call.json(&json!({ "agent_handle": handle })).send()
    };
    let again = world.stores_nothing(|| there("alpha"));
    assert!(is_replayed(&again));
    assert_eq!((again.bytes, &again.headers["etag"]), (first.bytes, &first.headers["etag"]));
    world.stores_nothing(|| there("bravo")).refused_as(409, "idempotency_key_reused");
}

// A record of a version that had no entity tags.
#[test]
fn a_record_without_a_tag_is_answered_without_one() {
    let world = World::new();
    let first = create(&world, "k1", "alpha");
    world.database().execute("update idempotency_records set entity_tag = null");
    let again = create(&world, "k1", "alpha");
    assert_eq!((again.headers.get("etag"), again.bytes), (None, first.bytes));
}

#[test]
fn the_key_is_in_the_metadata_of_every_event() {
    let world = World::new();
    create(&world, "k1", "alpha").created();
    world.admin().create("bravo");
    let keys_of = |handle: &str| -> Vec<Value> {
        let page = world.admin().get(&format!("/events?agent_handle={handle}")).ok();
        let events = page["events"].as_array().unwrap();
        events.iter().map(|event| event["metadata"]["idempotency_key"].clone()).collect()
    };
    assert_eq!(keys_of("alpha"), ["k1"]);
    assert_eq!(keys_of("bravo"), [Value::Null]);
}

#[test]
fn answers_are_forgotten_when_they_are_old_enough_and_no_earlier() {
    let world = World::new();
    create(&world, "old", "alpha").created();
    create(&world, "young", "bravo").created();
    let age = |key: &str, hours: u32| {
        world.database().execute(&format!(
            "update idempotency_records set recorded_at = now() - interval '{hours} hours 1 minute'
             where idempotency_key = '{key}'"
        ));
    };
    age("old", 24);
    age("young", 23);
    let world = world.restarted();
    let kept = || world.database().number("select count(*) from idempotency_records");
    eventually("the old record is gone", || kept() == 1);
    assert!(is_replayed(&create(&world, "young", "bravo")));
    create(&world, "old", "alpha").handle_unavailable("identities");
}
