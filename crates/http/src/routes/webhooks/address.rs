//! The check of an address before it is saved: the rules are those for sending to it.

use identity_webhooks::address::{MAX_URL_BYTES, Policy, Refusal, check_url};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::form::reader::{Reader, parsed};

/// Reads an address that may be saved, and keeps it as the client wrote it.
pub(in crate::routes) fn address(policy: &Policy) -> impl Reader<Value, String> {
    let check = |text: &str| check_url(text, policy).map(|_| text.to_owned());
    let pattern = if policy.allows_loopback { "^https?://[^\\s]+$" } else { "^https://[^\\s]+$" };
    parsed(
        MAX_URL_BYTES,
        check,
        move || json!({ "type": "string", "maxLength": MAX_URL_BYTES, "pattern": pattern }),
    )
}

/// Refuses a URL whose host has an IP address that is not public. A host that has no IP address at present may be
/// saved, since it is looked up again before everything that is sent.
pub(in crate::routes) async fn must_be_reachable(caller: &Caller, url: &str) -> Result<(), ApiError> {
    caller.give_back_turn().await;
    match caller.webhooks().check(caller.organization_id(), url).await {
        Ok(()) | Err(Refusal::Unknown(_) | Refusal::Unresolved(_) | Refusal::Busy(_)) => Ok(()),
        Err(refusal) => Err(ApiError::invalid(vec![Fault::value("url", &refusal.to_string())])),
    }
}
