//! A key that is revoked while its request is under way: nothing is done in its name any more, and nothing is shown to it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use identityd::operator::{NewKey, Operator, Purpose};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::harness::{Caller, NOBODY, World, text, wait};

/// More lines than a stream sends before it notices that its key has ended.
const MANY_SIGNS_OF_LIFE: usize = 50_000;

/// How a key can end.
#[derive(Debug, Clone, Copy)]
enum Ending {
    AdminKeyRevoked,
    AgentKeyRevoked,
    AgentKeyRotated,
    IdentityDeleted,
}

const ENDINGS: [Ending; 4] =
    [Ending::AdminKeyRevoked, Ending::AgentKeyRevoked, Ending::AgentKeyRotated, Ending::IdentityDeleted];

fn another_admin(world: &World) -> NewKey {
    let operator = Operator::new(world.database().pool().clone(), world.database().signing());
    wait(operator.issue_key(world.organization_id(), "another", Purpose::Admin)).unwrap()
}

/// Gives a key a new text, and ends the old one.
fn rotate_at_once(admin: &Caller, key_id: &str) {
    admin.post(&format!("/api-keys/{key_id}/rotate"), &json!({"overlap_seconds": 0})).ok();
}

/// A holder of a key, and what ends the key.
fn holder_of_key<'a>(world: &'a World, ending: Ending, number: usize) -> (Caller, Box<dyn FnOnce() + 'a>) {
    let admin = world.admin();
    if let Ending::AdminKeyRevoked = ending {
        let key = another_admin(world);
        let caller = world.holder_of(key.api_key.expose_secret());
        return (caller, Box::new(move || admin.delete(&format!("/api-keys/{}", key.key_id)).no_content()));
    }
    let handle = format!("holder-{number}");
    let agent = world.agent(&handle);
    let caller = world.holder_of(&agent.key);
    match ending {
        Ending::IdentityDeleted => (caller, Box::new(move || admin.remove(&handle))),
        Ending::AgentKeyRotated => (caller, Box::new(move || rotate_at_once(&admin, &agent.key_id))),
        _ => (caller, Box::new(move || admin.delete(&format!("/api-keys/{}", agent.key_id)).no_content())),
    }
}

/// Every operation of the document that takes a body, as a method and a path that leads to something.
fn operations_with_a_body() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(identity_http::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        let with_body = methods.filter(|(_, operation)| !operation["requestBody"].is_null());
        with_body.map(|(method, _)| (method.to_uppercase(), filled(path)))
    });
    operations.collect()
}

fn filled(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        "{agent_handle}" | "{email_address}" => "alpha",
        segment if segment.starts_with('{') => NOBODY,
        segment => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn no_operation_is_carried_out_for_a_key_that_ended_while_the_body_was_awaited() {
    let world = World::new();
    world.admin().create("alpha");
    let operations = operations_with_a_body();
    assert!(operations.len() >= 9, "{operations:?}");
    let mut number = 0;
    for (method, path) in &operations {
        for (ending, headers) in
            ENDINGS.into_iter().flat_map(|ending| [(ending, ""), (ending, "Idempotency-Key: once\r\n")])
        {
            number += 1;
            let (caller, end) = holder_of_key(&world, ending, number);
            let mut before = world.events();
            let body = br#"{"label": "k", "agent_handle": "late", "name": "late", "description": "late"}"#;
            let answer = caller.while_the_body_is_awaited(method, path, headers, body, || {
                end();
                before = world.events();
            });
            // What is for admins alone is refused to an agent before its body is looked at.
            let is_refused =
                answer.status == 401 || answer.status == 403 && !matches!(ending, Ending::AdminKeyRevoked);
            assert!(is_refused, "{ending:?} {headers:?} {answer}");
            assert_eq!(world.events(), before, "{method} {path} was carried out after {ending:?}");
        }
    }
}

#[test]
fn an_answer_that_was_kept_is_not_shown_to_a_key_that_ended_while_the_body_was_awaited() {
    let world = World::new();
    let key = another_admin(&world);
    let caller = world.holder_of(key.api_key.expose_secret());
    let body = json!({ "agent_handle": "alpha" });
    let call =
        caller.call(Method::POST, "/identities").header("Idempotency-Key", "once").body(body.to_string());
    call.send().created();
    let headers = "Idempotency-Key: once\r\n";
    let again = caller.while_the_body_is_awaited(
        "POST",
        "/api/v1/identities",
        headers,
        body.to_string().as_bytes(),
        || world.admin().delete(&format!("/api-keys/{}", key.key_id)).no_content(),
    );
    again.refused(401);
}

/// More than the sockets between two processes hold, so that an answer that nobody reads waits in the service.
fn a_long_history(world: &World) {
    let description = "x".repeat(10_000);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let description = &description;
            scope.spawn(move || {
                for number in 0..300 {
                    let body = json!({ "agent_handle": format!("crowd-{part}-{number}"), "description": description });
                    world.admin().post("/identities", &body).created();
                }
            });
        }
    });
}

#[test]
fn no_long_answer_goes_on_for_a_key_that_ended() {
    let world = World::new();
    a_long_history(&world);
    let newest = text(&world.admin().get("/identities/crowd-0-299").ok()["created_at"]);
    for (path, accept) in [
        ("/identities".to_owned(), "application/json"),
        (format!("/identities?as_of={newest}"), "application/json"),
        ("/events".to_owned(), "application/x-ndjson"),
        ("/events".to_owned(), "text/event-stream"),
    ] {
        let whole = {
            let mut answer = Vec::new();
            let call = world.admin().call(Method::GET, &path).header("Accept", accept);
            if accept == "text/event-stream" {
                usize::MAX
            } else {
                call.open().unwrap().read_to_end(&mut answer).unwrap()
            }
        };
        let key = another_admin(&world);
        let caller = world.holder_of(key.api_key.expose_secret());
        let mut answer = caller.call(Method::GET, &path).header("Accept", accept).open().unwrap();
        assert_eq!(answer.status(), 200);
        world.admin().delete(&format!("/api-keys/{}", key.key_id)).no_content();
        let mut seen = Vec::new();
        let ended = answer.read_to_end(&mut seen);
        assert!(ended.is_err() && seen.len() < whole, "{path} {accept}: {} of {whole} bytes", seen.len());
    }
}

#[test]
fn a_stream_that_has_nothing_to_say_ends_with_its_key() {
    let world = World::with_heartbeat(Duration::ZERO);
    let key = another_admin(&world);
    let caller = world.holder_of(key.api_key.expose_secret());
    let call =
        caller.call(Method::GET, "/events?event_type=identity.deleted").header("Accept", "text/event-stream");
    let mut lines = BufReader::new(call.open().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "retry: 1000");
    world.admin().delete(&format!("/api-keys/{}", key.key_id)).no_content();
    assert!(lines.take(MANY_SIGNS_OF_LIFE).any(|line| line.is_err()), "it would go on for ever");
}
