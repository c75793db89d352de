//! How addresses are written, and what goes with them.

use serde_json::json;

use super::deliveries::settings;
use super::receiver::Receiver;
use super::{of_identity, path_of, subscribe};
use crate::harness::World;

#[test]
fn an_address_is_sent_to_whatever_its_characters() {
    let (world, receiver) = (World::with_webhooks(settings()), Receiver::new());
    let alpha = world.agent("alpha");
    let url = format!("{}/ü{{x}}?q=\"ä\"", receiver.url());
    let shown = subscribe(
        &alpha,
        &json!({ "agent_identity_id": alpha.id, "url": url, "event_types": ["identity.updated"] }),
    );
    assert_eq!(shown["url"], url);
    receiver.wait_for(1);
}

#[test]
fn a_token_does_not_go_to_another_host_unless_it_is_given_again() {
    let world = World::with_webhooks(settings());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let mut body = of_identity(&alpha.id);
    body["auth_token"] = json!("let-me-in");
    let path = path_of(&subscribe(&admin, &body));
    for url in
        ["https://other.example/events", "https://harbor.example:8443/events", "http://127.0.0.1/events"]
    {
        world.stores_nothing(|| {
            alpha.patch(&path, &json!({ "url": url })).invalid_at(&["body", "auth_token"])
        });
    }
    for url in ["https://harbor.example/other", "https://HARBOR.example:443/"] {
        assert_eq!(alpha.patch(&path, &json!({ "url": url })).ok()["has_auth_token"], json!(true));
    }
    for token in [json!("another"), json!(null)] {
        let url = format!("https://{}.example/", token.as_str().unwrap_or("none"));
        let shown = alpha.patch(&path, &json!({ "url": url, "auth_token": token })).ok();
        assert_eq!(shown["has_auth_token"], json!(token.is_string()));
    }
    alpha.patch(&path, &json!({ "url": "https://other.example/" })).ok();
}
