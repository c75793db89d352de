//! Bodies of requests about phone numbers, alone and inside those of identities. Contract, sections 2.2, 6.2, 6.4 and 10.3.

use identity_domain::identity::{PhoneChange, PhoneOrder};
use identity_domain::phone::{
    CallAction, CallHandling, ForwardingChange, LONGEST_SIP_URI, UsState, check_number, check_sip_uri,
};
use identity_domain::{NumberWish, url};
use identity_log::ids;
use identity_projections::document::NumberType;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fault::Complaint;
use crate::form::Form;
use crate::form::reader::{Reader, choice, parsed, schema_of};

/// The longest address, in characters.
const LONGEST_URL: usize = 2048;

/// The text about the action of a change in the OpenAPI document.
pub(crate) const CALL_ACTION: &str = "What happens to incoming calls. `auto_accept` needs a `client_websocket_url`, `webhook` an \
    `incoming_call_webhook_url`, and `forward` a `forwarding_target_type` with its target, given now or earlier; 422 \
    otherwise";

const TARGET_NUMBER: &str = "A phone number in E.164 to which calls are forwarded";
const TARGET_ADDRESS: &str = "A SIP address at a public host to which calls are forwarded";
const NEEDED: &str = "Field required by this incoming_call_action";

/// A phone number that is ordered. Contract, sections 2.2 and 6.2.
pub(crate) fn phone_order(form: &mut Form, nested: bool) -> PhoneOrder {
    form.lenient("type", "Always `local`", number_type());
    let state = form.lenient("state", "A US state; any if absent", parsed(2, UsState::parse, state_schema));
    let calls = ordered_calls(form);
    let about =
        "The identity's mode for its phone if absent, which is `blacklist` unless it was set; for admins";
    let filter_mode = if nested { None } else { form.lenient("filter_mode", about, choice()) };
    PhoneOrder { id: ids::mint(), wish: NumberWish { state }, calls, filter_mode }
}

fn ordered_calls(form: &mut Form) -> CallHandling {
    let action = "What happens to incoming calls; `auto_reject` if absent. `auto_accept` needs a `client_websocket_url`, \
        `webhook` an `incoming_call_webhook_url`, and `forward` a `forwarding_target_type`";
    let action = form.lenient("incoming_call_action", action, choice());
    let calls = read_calls(form, action, ORDER).calls_after(&CallHandling::default());
    for (action, field) in [
        ("auto_accept", "client_websocket_url"),
        ("webhook", "incoming_call_webhook_url"),
        ("forward", "forwarding_target_type"),
    ] {
        form.requires(("incoming_call_action", action), field, NEEDED);
    }
    if form.is_valid()
        && let Some(field) = calls.unclear_target()
    {
        form.refuse(field, "Give forwarding_target_type and the one target of that kind");
    }
    calls
}

/// Changes of how a number treats calls, and of its filter mode where that can be changed.
pub(crate) fn call_change(form: &mut Form, action: Option<CallAction>) -> PhoneChange {
    read_calls(form, action, CHANGE)
}

/// The texts about the two addresses and the kind of target, in the OpenAPI document.
const ORDER: [&str; 3] = [
    "A `wss://` address",
    "An `https://` address",
    "The kind of target for `forward`; the target of the other kind is given up",
];

const CHANGE: [&str; 3] = [
    "A `wss://` address; null clears it",
    "An `https://` address; null clears it",
    "The kind of target for `forward`; the target of the other kind is given up. Null clears both, together with another action",
];

fn read_calls(form: &mut Form, action: Option<CallAction>, about: [&str; 3]) -> PhoneChange {
    let [websocket, webhook, target_type] = about;
    PhoneChange {
        phone_number_id: Uuid::nil(),
        incoming_call_action: action,
        client_websocket_url: form.nullable("client_websocket_url", websocket, url("wss")),
        incoming_call_webhook_url: form.nullable("incoming_call_webhook_url", webhook, url("https")),
        forwarding: ForwardingChange {
            target_type: form.nullable("forwarding_target_type", target_type, choice()),
            phone_number: form.nullable("forwarding_phone_number", TARGET_NUMBER, target_number()),
            sip_uri: form.nullable("forwarding_sip_uri", TARGET_ADDRESS, target_address()),
        },
        filter_mode: None,
    }
}

fn target_number() -> impl Reader<Value, String> {
    let parse = |text: &str| check_number(text).map(|()| text.to_owned());
    parsed(LONGEST_URL, parse, || json!({ "type": "string", "pattern": r"^\+[1-9][0-9]{6,14}$" }))
}

fn target_address() -> impl Reader<Value, String> {
    let parse = |text: &str| check_sip_uri(text).map(|()| text.to_owned());
    let schema =
        || json!({ "type": "string", "maxLength": LONGEST_SIP_URI, "pattern": "^[Ss][Ii][Pp][Ss]?:[!-~]+$" });
    parsed(LONGEST_SIP_URI, parse, schema)
}

fn number_type() -> impl Reader<Value, NumberType> {
    let read = |value: &Value| {
        let is_local = value == "local";
        is_local.then_some(NumberType::Local).ok_or_else(|| Complaint::new("enum", "Input should be 'local'"))
    };
    (read, schema_of::<NumberType>)
}

fn state_schema() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z]{2}$" })
}

/// An absolute address with this scheme.
fn url(scheme: &'static str) -> impl Reader<Value, String> {
    let parse = move |text: &str| url::check(scheme, text).map(|()| text.to_owned());
    let pattern = move || format!("^{scheme}://[A-Za-z0-9][!-~]*$");
    parsed(
        LONGEST_URL,
        parse,
        move || json!({ "type": "string", "maxLength": LONGEST_URL, "pattern": pattern() }),
    )
}
