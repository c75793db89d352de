//! Which addresses may be saved: those to which something would be sent.

use identity_webhooks::address::{MAX_URL_BYTES, Policy, Refusal, check_url};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::form::reader::{Reader, parsed};

/// An address that may be saved, as it was written.
pub(in crate::routes) fn address(policy: &Policy) -> impl Reader<Value, String> {
    let check = |text: &str| check_url(text, policy).map(|_| text.to_owned());
    let pattern = if policy.allows_loopback { "^https?://[^\\s]+$" } else { "^https://[^\\s]+$" };
    parsed(
        MAX_URL_BYTES,
        check,
        move || json!({ "type": "string", "maxLength": MAX_URL_BYTES, "pattern": pattern }),
    )
}

/// Refuses an address whose host has an address that is not public. One that has no address at present may be saved: it is looked
/// up each time that something is sent.
pub(in crate::routes) async fn must_be_reachable(caller: &Caller, url: &str) -> Result<(), ApiError> {
    match caller.webhooks().check(caller.organization_id(), url).await {
        Ok(()) | Err(Refusal::Unknown(_) | Refusal::Unresolved(_) | Refusal::Busy(_)) => Ok(()),
        Err(refusal) => Err(ApiError::invalid(vec![Fault::value("url", &refusal.to_string())])),
    }
}
