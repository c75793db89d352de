//! The two forms of an error: `detail` with the members of RFC 9457 beside it, or a plain RFC 9457 problem for clients
//! that ask for one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, World};

fn asking_for_problems(world: &World, method: Method, path: &str, body: &Value) -> Answer {
    let call =
        world.admin().call(method, path).header("Accept", "application/problem+json, application/json");
    call.json(body).send()
}

#[test]
fn beside_the_detail_stand_members_that_do_not_collide_with_it() {
    let world = World::new();
    let error = world.admin().get("/identities/nobody").must_be(404).json();
    assert_eq!(error["detail"], "Identity not found");
    assert_eq!((&error["type"], &error["title"]), (&json!("about:blank"), &json!("Not Found")));
    assert_eq!((&error["status"], &error["code"]), (&json!(404), &json!("identity_not_found")));
    assert!(error["request_id"].is_string());
}

#[test]
fn whoever_asks_for_a_problem_gets_one_whatever_the_detail_is() {
    let world = World::new();
    world.admin().create("alpha");
    let taken = json!({ "agent_handle": "alpha" });
    let malformed = json!({ "agent_handle": "a_b" });
    let not_found =
        asking_for_problems(&world, Method::GET, "/identities/nobody", &json!({})).must_be(404).json();
    assert_eq!(not_found["detail"], "Identity not found");
    let conflict = asking_for_problems(&world, Method::POST, "/identities", &taken).must_be(409).json();
    assert!(conflict["detail"].is_string());
    assert_eq!(conflict["context"]["blocking_namespace"], "identities");
    let invalid = asking_for_problems(&world, Method::POST, "/identities", &malformed).must_be(422).json();
    assert!(invalid["detail"].is_string());
    assert_eq!(invalid["errors"][0]["loc"], json!(["body", "agent_handle"]));
}

#[test]
fn a_problem_is_for_whoever_wants_it_most() {
    let world = World::new();
    let form = |accept: &str| {
        let call = world.admin().call(Method::GET, "/identities/nobody").header("Accept", accept);
        let answer = call.send().must_be(404);
        assert_eq!(answer.headers["vary"], "x-api-key, accept", "{accept}");
        answer.headers["content-type"].clone()
    };
    for problem in [
        "application/problem+json",
        "Application/Problem+JSON",
        "application/problem+json ; q=0.5, */*;q=0.1",
        "application/json, application/problem+json",
        "application/json;q=0.5, application/problem+json;Q=0.9",
        "application/problem+json;charset=utf-8",
    ] {
        assert_eq!(form(problem), "application/problem+json", "{problem}");
    }
    for known in [
        "*/*",
        "application/*",
        "text/html",
        "application/problem+json;q=0",
        "application/problem+jsonp",
        "application/problem+json-seq",
        "application/json, application/problem+json;q=0.5",
        "application/*, application/problem+json;q=0.5",
    ] {
        assert_eq!(form(known), "application/json", "{known}");
    }
}

#[test]
fn what_is_not_negotiated_does_not_vary() {
    let world = World::new();
    let varies = |path: &str| world.admin().get(path).must_be(200).headers["vary"].clone();
    assert_eq!(varies("/events"), "x-api-key, accept");
    assert_eq!(varies("/identities"), "x-api-key");
}

#[test]
fn a_sane_request_id_is_taken_and_any_other_replaced() {
    let world = World::new();
    let with =
        |id: &str| world.admin().call(Method::GET, "/identities/nobody").header("X-Request-Id", id).send();
    let taken = with("trace-42");
    assert_eq!(taken.headers["x-request-id"], "trace-42");
    assert_eq!(taken.json()["request_id"], "trace-42");
    for insane in ["two words", &"x".repeat(129), ""] {
        assert_ne!(with(insane).headers["x-request-id"], insane);
    }
}

#[test]
fn the_request_id_is_in_the_metadata_of_every_event() {
    let world = World::new();
    let body = json!({ "agent_handle": "alpha" });
    world
        .admin()
        .call(Method::POST, "/identities")
        .header("X-Request-Id", "trace-43")
        .json(&body)
        .send()
        .created();
    let events = "select count(*) from events where metadata ->> 'request_id' = 'trace-43'";
    assert_eq!(world.database().number(events), 1);
}
