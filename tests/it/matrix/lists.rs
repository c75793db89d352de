//! A list takes the memory of one piece, however long it is.

use serde_json::{Value, json};

use super::estate::Target;
use super::walk;
use crate::harness::{Caller, World, text};

/// More than the rows of a first piece.
const MANY: usize = 65;

/// Lists that are answered in one piece. Phone numbers come from a pool that the operator fills; the access rules of an identity,
/// and of a secret, are also a part of its body.
const IN_ONE_PIECE: [&str; 3] = ["list_phone_numbers", "list_access", "list_access_rules"];

/// All other lists that can be long.
const LONG: [&str; 7] = [
    "list_api_keys",
    "list_identities",
    "list_mailboxes",
    "list_secrets",
    "list_tunnels",
    "list_webhook_subscriptions",
    "unlock_vault",
];

/// Makes so many of everything that is listed.
fn crowd(admin: &Caller, target: &Target) {
    let secret = &target.names.parameters["secret_id"];
    for number in 0..MANY {
        let id = text(&admin.create(&format!("crowd-{number}"))["id"]);
        admin.mint("crowd", &id);
        let content = json!({ "name": "crowd", "encrypted_payload": "Y29udGVudA==" });
        admin.post("/vault/secrets", &content).created();
        admin.post(&format!("/vault/secrets/{secret}/access"), &json!({ "identity_id": id })).created();
        let subscription = json!({ "agent_identity_id": id, "url": "https://desk.example/events", "event_types": ["identity.updated"] });
        admin.post("/webhooks/subscriptions", &subscription).created();
        admin.grant(&target.names.parameters["agent_handle"], &id).created();
    }
}

/// The entries of a body that is a list.
fn entries(body: &Value) -> Option<&Vec<Value>> {
    let mut lists = body.as_object().into_iter().flatten().filter(|(name, _)| *name != "access");
    body.as_array().or_else(|| lists.find_map(|(_, member)| member.as_array()))
}

#[test]
fn a_long_list_is_written_as_it_is_read() {
    let world = World::new();
    let admin = world.admin();
    let viewer = text(&admin.create("viewer")["id"]);
    let target = Target::new(&admin, &viewer, |_| false);
    crowd(&admin, &target);
    let of_one = format!("?agent_identity_id={}", target.id);
    let mut seen = vec![];
    for operation in walk::reads(&world) {
        let is_whole = !operation.takes("limit") || operation.id == "list_identities";
        if !is_whole || IN_ONE_PIECE.contains(&operation.id.as_str()) || operation.path.contains("/events") {
            continue;
        }
        let mut request = operation.request(&target.names, false);
        request.target = request.target.replace(&of_one, "");
        let answer = request.send(&admin);
        let body: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
        if entries(&body).is_some_and(|entries| entries.len() >= MANY) {
            let is_streamed = !answer.headers.contains_key("content-length");
            assert!(is_streamed, "{} is answered in one piece", operation.id);
            seen.push(operation.id.clone());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, LONG);
}
