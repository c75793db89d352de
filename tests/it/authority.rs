//! A key that is revoked before its request is repeated. The rules for all other requests are in
//! `matrix/revocation.rs`.

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::harness::World;

#[test]
fn an_answer_that_was_kept_is_not_shown_to_a_key_that_ended_while_the_body_was_awaited() {
    let world = World::new();
    let key = world.another_admin(world.organization_id());
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
