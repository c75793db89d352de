//! Bodies of requests about webhook subscriptions. Contract, section 10.6.

use std::collections::BTreeSet;

use identity_domain::webhook_subscription::catalog::{self, EventType};
use identity_domain::webhook_subscription::{ClassContext, ContextConfig, OwnerKind};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::address::address;
use crate::caller::AppSettings;
use crate::fault::Complaint;
use crate::form::reader::{Reader, read_whole_number, uuid};
use crate::form::{Form, ReadForm};

/// The longest token, in characters.
const LONGEST_TOKEN: usize = 1024;

const ABOUT_URL: &str = "Where events are sent: an `https://` address of a public host";
const ABOUT_TYPES: &str = "The types of events that are sent, which `GET /api/v1/webhooks/catalog` lists";
const ABOUT_CONTEXT: &str = "How much of a conversation is sent along with a message";
const ABOUT_TOKEN: &str = "A token that deliveries carry as `Authorization: Bearer`. Nobody is shown it";
const ABOUT_OWNER: &str = "The owner. Exactly one of the three is given";
const ONE_OWNER: &str = "Exactly one of mailbox_id, phone_number_id and agent_identity_id should be given";

/// Body of `POST /webhooks/subscriptions`.
#[derive(Debug)]
pub(crate) struct NewSubscription {
    pub(super) owner_kind: OwnerKind,
    pub(super) owner_id: Uuid,
    pub(super) url: String,
    pub(super) event_types: Vec<String>,
    pub(super) context_config: Option<ContextConfig>,
    pub(super) auth_token: Option<SecretString>,
}

impl ReadForm for NewSubscription {
    const NAME: &'static str = "CreateWebhookSubscription";
    const EXAMPLE: &'static str = r#"{
        "agent_identity_id": "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01",
        "url": "https://harbor.example/events",
        "event_types": ["identity.updated"]
    }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let url = form.required("url", ABOUT_URL, address(&settings.webhook_policy));
        let event_types = form.required("event_types", ABOUT_TYPES, event_types());
        let owner = owner(form);
        let context_config = form.lenient("context_config", ABOUT_CONTEXT, context());
        let auth_token = form.lenient("auth_token", ABOUT_TOKEN, token());
        if let (Some((kind, _)), Some(types)) = (owner, &event_types)
            && let Some(sentence) = not_for(kind, types)
        {
            form.refuse("event_types", &sentence);
        }
        let (owner_kind, owner_id) = owner?;
        Some(Self { owner_kind, owner_id, url: url?, event_types: event_types?, context_config, auth_token })
    }
}

fn owner(form: &mut Form) -> Option<(OwnerKind, Uuid)> {
    let owners = [
        ("mailbox_id", OwnerKind::Mailbox),
        ("phone_number_id", OwnerKind::PhoneNumber),
        ("agent_identity_id", OwnerKind::Identity),
    ];
    let given: Vec<&str> = owners.iter().map(|(name, _)| *name).filter(|name| form.is_set(name)).collect();
    let read = owners.map(|(name, kind)| Some((kind, form.lenient(name, ABOUT_OWNER, uuid())?)));
    match given.as_slice() {
        [_] => read.into_iter().flatten().next(),
        [_, second, ..] => {
            form.refuse(second, ONE_OWNER);
            None
        }
        [] => {
            form.refuse("agent_identity_id", ONE_OWNER);
            None
        }
    }
}

/// Why subscriptions of this kind of owner cannot have these types; `None` if they can.
pub(super) fn not_for(owner: OwnerKind, types: &[String]) -> Option<String> {
    let named = |name: &String| EventType::find(name).is_some_and(|event_type| !event_type.is_for(owner));
    let refused = types.iter().find(|name| named(name))?;
    Some(match owner {
        OwnerKind::Mailbox => {
            format!("A mailbox owns message.* only, and {refused} can be owned by an identity")
        }
        OwnerKind::PhoneNumber => {
            format!("A phone number owns text.* only, and {refused} can be owned by an identity")
        }
        OwnerKind::Identity => {
            format!(
                "{refused} is sent to log endpoints only: no identity may see another one that was just created"
            )
        }
    })
}

/// Body of `PATCH /webhooks/subscriptions/{subscription_id}`.
#[derive(Debug)]
#[expect(clippy::option_option, reason = "absent, null and a value are three things")]
pub(crate) struct ChangedSubscription {
    pub(super) url: Option<String>,
    pub(super) event_types: Option<Vec<String>>,
    pub(super) context_config: Option<Option<ContextConfig>>,
    pub(super) auth_token: Option<Option<SecretString>>,
}

impl ReadForm for ChangedSubscription {
    const NAME: &'static str = "UpdateWebhookSubscription";
    const EXAMPLE: &'static str = r#"{ "url": "https://harbor.example/other-events" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        Some(Self {
            url: form.optional("url", ABOUT_URL, address(&settings.webhook_policy)),
            event_types: form.optional("event_types", ABOUT_TYPES, event_types()),
            context_config: form.nullable("context_config", ABOUT_CONTEXT, context()),
            auth_token: form.nullable("auth_token", ABOUT_TOKEN, token()),
        })
    }
}

fn event_types() -> impl Reader<Value, Vec<String>> {
    let names = || catalog::all().map(|event_type| event_type.name).collect::<Vec<_>>();
    let schema = move || json!({ "type": "array", "items": { "type": "string", "enum": names() }, "minItems": 1, "uniqueItems": true });
    (read_event_types, schema)
}

fn read_event_types(value: &Value) -> Result<Vec<String>, Complaint> {
    let values = value.as_array();
    let values = values.ok_or_else(|| Complaint::new("list_type", "Input should be a valid list"))?;
    if values.is_empty() {
        return Err(Complaint::new("too_short", "List should have at least 1 item"));
    }
    let mut seen = BTreeSet::new();
    for value in values {
        let name = value.as_str();
        let name = name.ok_or_else(|| Complaint::new("string_type", "Items should be valid strings"))?;
        if name == catalog::INCOMING_CALL {
            let message = "phone.incoming_call is no type of subscriptions: set incoming_call_webhook_url of the phone number";
            return Err(Complaint::new("value_error", message));
        }
        if EventType::find(name).is_none() {
            let message = format!(
                "{name} is no type of events: GET /api/v1/webhooks/catalog lists those that there are"
            );
            return Err(Complaint::new("value_error", message));
        }
        if !seen.insert(name) {
            return Err(Complaint::new("value_error", format!("{name} is given twice")));
        }
    }
    Ok(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn token() -> impl Reader<Value, SecretString> {
    let read = |value: &Value| {
        let text = value.as_str().filter(|text| {
            (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let message = format!("Input should be 1 to {LONGEST_TOKEN} visible ASCII characters without spaces");
        text.map(SecretString::from).ok_or_else(|| Complaint::new("value_error", message))
    };
    (read, || json!({ "type": "string", "pattern": format!("^[!-~]{{1,{LONGEST_TOKEN}}}$") }))
}

fn context() -> impl Reader<Value, ContextConfig> {
    let class = json!({
        "oneOf": [
            { "type": "null" },
            {
                "type": "object",
                "properties": {
                    "mode": { "const": "count" },
                    "count": { "type": "integer", "minimum": 1, "maximum": ClassContext::MAX_COUNT },
                },
                "required": ["mode", "count"],
                "additionalProperties": false,
            },
            {
                "type": "object",
                "properties": {
                    "mode": { "const": "window" },
                    "hours": { "type": "integer", "minimum": 1, "maximum": ClassContext::MAX_HOURS },
                },
                "required": ["mode", "hours"],
                "additionalProperties": false,
            },
        ],
    });
    let schema = move || {
        let properties = json!({ "email": class, "texts": class, "calls": class });
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    };
    (read_context, schema)
}

fn read_context(value: &Value) -> Result<ContextConfig, Complaint> {
    let classes = value.as_object();
    let classes = classes.ok_or_else(|| Complaint::new("dict_type", "Input should be a valid dictionary"))?;
    let mut config = ContextConfig::default();
    for (class, value) in classes {
        let part = match class.as_str() {
            "email" => &mut config.email,
            "texts" => &mut config.texts,
            "calls" => &mut config.calls,
            _ => {
                let message = "Classes should be email, texts and calls";
                return Err(Complaint::new("value_error", message));
            }
        };
        *part = if value.is_null() { None } else { Some(read_class(value)?) };
    }
    Ok(config)
}

fn read_class(value: &Value) -> Result<ClassContext, Complaint> {
    let complaint = || {
        let message = format!(
            "A class should be {{\"mode\": \"count\", \"count\": 1 to {}}} or {{\"mode\": \"window\", \"hours\": 1 to {}}}",
            ClassContext::MAX_COUNT,
            ClassContext::MAX_HOURS
        );
        Complaint::new("value_error", message)
    };
    let fields = value.as_object().filter(|fields| fields.len() == 2).ok_or_else(complaint)?;
    let number = |name: &str, most: u8| {
        let number =
            fields.get(name).and_then(read_whole_number).and_then(|number| u8::try_from(number).ok());
        number.filter(|number| (1..=most).contains(number)).ok_or_else(complaint)
    };
    match fields.get("mode").and_then(Value::as_str) {
        Some("count") => Ok(ClassContext::Count { count: number("count", ClassContext::MAX_COUNT)? }),
        Some("window") => Ok(ClassContext::Window { hours: number("hours", ClassContext::MAX_HOURS)? }),
        _ => Err(complaint()),
    }
}
