//! Notices beside the answer to a write: a setting was stored, but this service does not act on it. Published clients
//! since 0.7.3 read them from the header `Inkbox-Notices`. Contract, section 0.1.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use identity_domain::Event;
use identity_domain::identity::Event as IdentityEvent;
use identity_domain::phone::{CallAction, CallHandling};
use identity_domain::webhook_subscription::catalog::EventType;
use identity_domain::webhook_subscription::{Creation, Event as SubscriptionEvent};
use identity_log::Recorded;
use serde_json::{Value, json};

const HEADER: HeaderName = HeaderName::from_static("inkbox-notices");

/// The response with the notices that follow from the events of its write.
pub(crate) fn with_notices(mut response: Response, events: &[Recorded]) -> Response {
    let notices: Vec<Value> = events.iter().filter_map(|recorded| notice(&recorded.event)).collect();
    if !notices.is_empty()
        && let Ok(text) = HeaderValue::from_str(&Value::from(notices).to_string())
    {
        response.headers_mut().insert(HEADER, text);
    }
    response
}

fn notice(event: &Event) -> Option<Value> {
    let event = match event {
        Event::Identity(event) => event,
        Event::WebhookSubscription(event) => return not_sent(event),
        _ => return None,
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

/// The types of a subscription that this service does not send yet.
fn not_sent(event: &SubscriptionEvent) -> Option<Value> {
    let (SubscriptionEvent::Created(Creation { settings, .. }) | SubscriptionEvent::Changed(settings)) =
        event
    else {
        return None;
    };
    let is_sent = |name: &&String| EventType::find(name).is_some_and(|event_type| event_type.is_sent);
    let types: Vec<&str> =
        settings.event_types.iter().filter(|name| !is_sent(name)).map(String::as_str).collect();
    let message = format!(
        "These types are kept and not sent, since this service does not carry their channels yet: {}.",
        types.join(", ")
    );
    (!types.is_empty())
        .then(|| json!({ "code": "event_types_not_sent", "level": "info", "message": message }))
}

const NOT_FORWARDED: (&str, &str) =
    ("call_forwarding_not_used", "The target is kept. No call arrives here, so none is forwarded.");

fn forwards(calls: &CallHandling) -> bool {
    calls.incoming_call_action == CallAction::Forward
}
