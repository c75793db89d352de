//! Answers that show a key. No HTTP cache may store them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::World;

/// The members of an answer that contain the text of a key.
const SECRETS: [&str; 2] = ["api_key", "signing_key"];

/// The operations of the document whose answer shows a key, as a method and a path.
fn operations_that_show_a_key(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods
            .filter(|(_, operation)| shows_a_key(document, operation))
            .map(move |(method, _)| (method, path))
    });
    operations.map(|(method, path)| (method.to_uppercase(), path.clone())).collect()
}

fn shows_a_key(document: &Value, operation: &Value) -> bool {
    let answers = operation["responses"].as_object().into_iter().flatten();
    let successes = answers.filter(|(status, _)| status.starts_with('2'));
    successes.into_iter().any(|(_, answer)| {
        let schema = &answer["content"]["application/json"]["schema"];
        let schema = match schema["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        SECRETS.iter().any(|secret| schema["properties"].get(secret).is_some())
    })
}

#[test]
fn an_answer_that_shows_a_key_is_not_kept_in_between() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    let document: Value = serde_json::from_str(identity_http::document()).unwrap();
    let operations = operations_that_show_a_key(&document);
    assert!(operations.len() >= 5, "{operations:?}");
    for (method, path) in operations {
        let target = path.replace("{agent_handle}", "alpha").replace("{api_key_id}", &alpha.key_id);
        let caller = if path == "/api/v1/signing-keys" { world.holder_of(&alpha.key) } else { world.admin() };
        let send = || {
            let call = caller.call(Method::from_bytes(method.as_bytes()).unwrap(), &target);
            let mut body = json!({"label": "l", "scoped_identity_id": alpha.id});
            let webhook = json!({"agent_identity_id": bravo.id, "url": "https://bravo.example/", "event_types": ["identity.updated"]});
            body.as_object_mut().unwrap().extend(webhook.as_object().unwrap().clone());
            call.header("Idempotency-Key", &path.replace(['{', '}'], "")).json(&body).send()
        };
        let [first, again] = [send(), send()];
        for answer in [&first, &again] {
            assert_eq!(answer.headers["cache-control"], "no-store", "{answer}");
        }
        let shown = |body: &Value| SECRETS.iter().any(|secret| body[*secret].is_string());
        assert!(shown(&first.json()), "{first}");
        assert!(!shown(&again.json()), "{again} shows it twice");
    }
}
