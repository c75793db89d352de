//! Notices beside the answer to a write: what was kept and has no effect here. Published clients since 0.7.3 read them from the
//! header `Inkbox-Notices`. Contract, section 0.1.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use identity_domain::Event;
use identity_domain::identity::Event as IdentityEvent;
use identity_domain::phone::{CallAction, CallHandling};
use identity_log::Recorded;
use serde_json::{Value, json};

const HEADER: HeaderName = HeaderName::from_static("inkbox-notices");

/// The response with the notices that follow from the events of its write.
pub(crate) fn noticed(mut response: Response, events: &[Recorded]) -> Response {
    let notices: Vec<Value> = events.iter().filter_map(|recorded| notice(&recorded.event)).collect();
    if !notices.is_empty()
        && let Ok(text) = HeaderValue::from_str(&Value::from(notices).to_string())
    {
        response.headers_mut().insert(HEADER, text);
    }
    response
}

fn notice(event: &Event) -> Option<Value> {
    let Event::Identity(event) = event else {
        return None;
    };
    let (code, message) = match event {
        IdentityEvent::MailboxSignatureChanged { .. } => {
            ("signature_not_used", "The signature is kept. No mail is sent here, so nothing is signed.")
        }
        IdentityEvent::ContactSharingChanged { .. } => (
            "contact_sharing_not_used",
            "The setting is kept. There are no dedicated iMessage numbers here, so no contact is shared.",
        ),
        IdentityEvent::PhoneChanged { calls, .. } if forwards(calls) => NOT_FORWARDED,
        IdentityEvent::PhoneProvisioned { phone, .. } if forwards(&phone.calls) => NOT_FORWARDED,
        _ => return None,
    };
    Some(json!({ "code": code, "level": "info", "message": message }))
}

const NOT_FORWARDED: (&str, &str) =
    ("call_forwarding_not_used", "The target is kept. No call arrives here, so none is forwarded.");

fn forwards(calls: &CallHandling) -> bool {
    calls.incoming_call_action == CallAction::Forward
}
