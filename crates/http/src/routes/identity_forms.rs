//! Bodies of identity requests. Fields that no client knows are ignored; a field that some release of a published client
//! sends is honoured or refused (D16).

use identity_domain::Handle;
use identity_domain::identity::{Create, Mailbox, PhoneOrder, TlsMode, Tunnel, Update};
use identity_domain::phone::{CallAction, CallHandling, UsState};
use identity_domain::{NumberWish, SecretSelection, url};
use identity_log::ids;
use identity_projections::document::NumberType;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::caller::AppSettings;
use crate::fault::Complaint;
use crate::form::reader::{
    Reader, boolean, choice, handle, parsed, read_choice, read_uuid, schema_of, text, uuid,
};
use crate::form::{Form, ReadForm};

/// The longest display name, in characters.
const LONGEST_DISPLAY_NAME: usize = 255;

/// The longest address, in characters.
const LONGEST_URL: usize = 2048;

/// Fields that an agent may not change, not even on itself (D6).
pub(crate) const ADMIN_FIELDS: [&str; 14] = [
    "imessage_filter_mode",
    "mail_filter_mode",
    "phone_filter_mode",
    "status",
    "imessage_number_id",
    "imessage_number_type",
    "claim_imessage_number",
    "mail_inbound_filter_mode",
    "mail_outbound_filter_mode",
    "phone_inbound_filter_mode",
    "phone_outbound_filter_mode",
    "slack_filter_mode",
    "slack_inbound_filter_mode",
    "slack_outbound_filter_mode",
];

/// The kind of a dedicated iMessage number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImessageNumberType {
    /// For messages that come in.
    DedicatedInbound,
    /// For messages that go out.
    DedicatedOutbound,
}

impl ImessageNumberType {
    /// Its wire name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DedicatedInbound => "dedicated_inbound",
            Self::DedicatedOutbound => "dedicated_outbound",
        }
    }
}

/// A dedicated iMessage number that is asked for in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImessageNumber {
    /// One that the organization has.
    Owned(Uuid),
    /// A new one.
    Claimed(ImessageNumberType),
}

/// Body of `POST /identities`. Contract, section 2.
#[derive(Debug)]
pub(crate) struct CreateForm {
    pub(crate) create: Create,
    pub(crate) imessage_number: Option<ImessageNumberType>,
}

impl ReadForm for CreateForm {
    const NAME: &'static str = "CreateIdentity";
    const EXAMPLE: &'static str = r#"{ "agent_handle": "harbor-desk", "description": "answers the door" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let handle = form.required("agent_handle", "Globally unique. Letters, digits and single hyphens; upper case is folded, and one `@` at the beginning dropped", handle());
        let display_name =
            form.lenient("display_name", "The handle if absent or null", text(LONGEST_DISPLAY_NAME));
        let description = form.lenient("description", DESCRIPTION, text(settings.longest_description));
        let imessage_enabled = form
            .optional("imessage_enabled", "Whether it is reachable over iMessage; false if absent", boolean())
            .unwrap_or(false);
        let imessage_number = claimed_number(form);
        for field in ["imessage_number_type", "claim_imessage_number"] {
            if !imessage_enabled && form.is_set(field) {
                form.refuse(field, "Needs imessage_enabled to be true");
            }
        }
        no_contact_sharing_switch(form);
        form.nested("mailbox", "Wishes for the mailbox, which is on the platform's domain", |mailbox| {
            check_mailbox(mailbox, handle.as_ref(), settings);
        });
        let tls_mode = form.nested("tunnel", "Wishes for the tunnel", |tunnel| {
            let about = "Who terminates TLS, once and for all; the edge if absent";
            tunnel.lenient("tls_mode", about, choice())
        });
        let phone =
            form.nested("phone_number", "A phone number, if one is wanted", |phone| phone_order(phone, true));
        let about = "Vault secrets that it may use: one id, several, or `*` or `all` for all that there are";
        let secrets = form.lenient("vault_secret_ids", about, secret_selection());
        let agent_handle = handle?;
        let create = Create {
            id: ids::mint(),
            display_name,
            description,
            imessage_enabled,
            mailbox: Mailbox {
                id: ids::mint(),
                email_address: format!("{agent_handle}@{}", settings.mail_domain),
            },
            tunnel: Tunnel {
                id: ids::mint(),
                tls_mode: tls_mode.flatten().unwrap_or(TlsMode::Edge),
                zone: settings.tunnel_zone.clone(),
            },
            agent_handle,
            phone,
            secrets,
        };
        Some(Self { create, imessage_number })
    }
}

/// What is said of a description, wherever there is one.
pub(crate) const DESCRIPTION: &str =
    "At most 10,000 characters, unless the service is set otherwise; an empty text is not null";

const NO_NUMBERS_YET: &str = "`dedicated_inbound` or `dedicated_outbound` are known, and answered with 503 \
    `dedicated_imessage_number_inventory_pending`: there are no such numbers yet, so nothing but null is of use";

const CLAIM: &str = "A new dedicated iMessage number: `true`, which needs `imessage_enabled`, is answered with 503 \
    `dedicated_imessage_number_inventory_pending`, since there are no such numbers yet";

/// The dedicated iMessage number that is claimed: by its type, as clients before 0.6.0 do, or by `claim_imessage_number`.
fn claimed_number(form: &mut Form) -> Option<ImessageNumberType> {
    let by_type = form.lenient("imessage_number_type", NO_NUMBERS_YET, imessage_number_type());
    let claim = form.lenient("claim_imessage_number", CLAIM, only_true());
    if claim.is_some() && form.is_set("imessage_number_type") {
        form.refuse("claim_imessage_number", "Cannot be combined with imessage_number_type");
    }
    by_type.or(claim.map(|()| ImessageNumberType::DedicatedOutbound))
}

/// `true`. The schema has null alone: a claim is always in vain.
fn only_true() -> impl Reader<Value, ()> {
    let read = |value: &Value| match value {
        Value::Bool(true) => Ok(()),
        _ => Err(Complaint::new("literal_error", "Input should be true")),
    };
    (read, || json!({ "type": "null" }))
}

/// Contact sharing is always on.
fn no_contact_sharing_switch(form: &mut Form) {
    let about = "Whether a dedicated iMessage number shares the contact; always true";
    if form.optional("contact_sharing_enabled", about, boolean()) == Some(false) {
        form.refuse("contact_sharing_enabled", "Contact sharing cannot be switched off here");
    }
}

/// A kind of number. The schema has none of them: asking for one is always in vain.
fn imessage_number_type() -> impl Reader<Value, ImessageNumberType> {
    (read_choice, || json!({ "type": "null" }))
}

/// On the platform's domain, the only one there is, the local part is the handle. Contract, section 2.1.
fn check_mailbox(form: &mut Form, handle: Option<&Handle>, settings: &AppSettings) {
    let local_part = form.lenient("email_local_part", "The handle, or absent", text(LONGEST_DISPLAY_NAME));
    let differs =
        |local_part: &str| handle.is_some_and(|handle| !local_part.eq_ignore_ascii_case(handle.as_str()));
    if local_part.is_some_and(|local_part| differs(&local_part)) {
        form.refuse("email_local_part", "On the platform domain the local part is the agent handle");
    }
    let domain =
        form.lenient("sending_domain", "The platform's domain, or absent", text(LONGEST_DISPLAY_NAME));
    if domain.is_some_and(|domain| !domain.eq_ignore_ascii_case(&settings.mail_domain)) {
        form.refuse("sending_domain", "Not a verified sending domain of this organization");
    }
}

/// A phone number that is ordered. Contract, sections 2.2 and 6.2.
pub(crate) fn phone_order(form: &mut Form, nested: bool) -> PhoneOrder {
    form.lenient("type", "Always `local`", number_type());
    let state = form.lenient("state", "A US state; any if absent", parsed(2, UsState::parse, state_schema));
    let action = "What happens to incoming calls; `auto_reject` if absent. `auto_accept` needs a `client_websocket_url`, and \
        `webhook` an `incoming_call_webhook_url`";
    let calls = CallHandling {
        incoming_call_action: form
            .lenient("incoming_call_action", action, choice())
            .unwrap_or(CallAction::AutoReject),
        client_websocket_url: form.lenient("client_websocket_url", "A `wss://` address", url("wss")),
        incoming_call_webhook_url: form.lenient(
            "incoming_call_webhook_url",
            "An `https://` address",
            url("https"),
        ),
    };
    let filter_mode = if nested {
        None
    } else {
        form.lenient("filter_mode", "`blacklist` if absent; for admins", choice())
    };
    for (action, address) in
        [("auto_accept", "client_websocket_url"), ("webhook", "incoming_call_webhook_url")]
    {
        form.requires(
            ("incoming_call_action", action),
            address,
            "Field required by this incoming_call_action",
        );
    }
    no_forwarding(form);
    PhoneOrder {
        id: ids::mint(),
        wish: NumberWish { state },
        calls,
        filter_mode: filter_mode.unwrap_or_default(),
    }
}

/// Calls are not forwarded. Null is what a client sends that clears what was never there.
pub(crate) fn no_forwarding(form: &mut Form) {
    for field in ["forwarding_target_type", "forwarding_phone_number", "forwarding_sip_uri"] {
        if form.is_set(field) {
            form.refuse(field, "Calls are not forwarded here");
        }
    }
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
pub(crate) fn url(scheme: &'static str) -> impl Reader<Value, String> {
    let parse = move |text: &str| url::check(scheme, text).map(|()| text.to_owned());
    let pattern = move || format!("^{scheme}://[A-Za-z0-9][!-~]*$");
    parsed(
        LONGEST_URL,
        parse,
        move || json!({ "type": "string", "maxLength": LONGEST_URL, "pattern": pattern() }),
    )
}

/// One id, a list of ids, or all. Contract, section 2.3.
fn secret_selection() -> impl Reader<Value, SecretSelection> {
    let read = |value: &Value| match value {
        Value::String(all) if all == "*" || all == "all" => Ok(SecretSelection::All),
        Value::String(_) => Ok(SecretSelection::These(vec![read_uuid(value)?])),
        Value::Array(ids) => Ok(SecretSelection::These(ids.iter().map(read_uuid).collect::<Result<_, _>>()?)),
        _ => Err(Complaint::new("value_error", "Input should be a UUID, a list of UUIDs, \"*\" or \"all\"")),
    };
    let id = || json!({ "type": "string", "format": "uuid" });
    let all = || json!({ "type": "string", "enum": ["*", "all"] });
    (read, move || json!({ "anyOf": [all(), id(), { "type": "array", "items": id() }] }))
}

/// Body of `PATCH /identities/{agent_handle}`. Contract, section 3.3.
#[derive(Debug)]
pub(crate) struct UpdateForm {
    pub(crate) update: Update,
    pub(crate) imessage_number: Option<ImessageNumber>,
}

impl ReadForm for UpdateForm {
    const NAME: &'static str = "UpdateIdentity";
    const EXAMPLE: &'static str = r#"{ "display_name": "Harbor desk", "status": "paused" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let update = Update {
            agent_handle: form.optional(
                "agent_handle",
                "The new handle; the old one is free at once",
                handle(),
            ),
            display_name: form.nullable("display_name", "Null clears it", text(LONGEST_DISPLAY_NAME)),
            description: form.nullable("description", DESCRIPTION, text(settings.longest_description)),
            imessage_enabled: form.optional(
                "imessage_enabled",
                "Whether it is reachable over iMessage",
                boolean(),
            ),
            imessage_filter_mode: form.optional(
                "imessage_filter_mode",
                "Filter mode of iMessage; for admins",
                choice(),
            ),
            mail_filter_mode: form.optional("mail_filter_mode", "Filter mode of mail; for admins", choice()),
            phone_filter_mode: form.optional(
                "phone_filter_mode",
                "Filter mode of the phone; for admins; 422 without a phone number",
                choice(),
            ),
            status: form.optional("status", "For admins", choice()),
        };
        let about = "A dedicated iMessage number; there are none yet, so any is not found";
        let owned = form.lenient("imessage_number_id", about, uuid()).map(ImessageNumber::Owned);
        let claimed = claimed_number(form).map(ImessageNumber::Claimed);
        check_claim(form, update.imessage_enabled);
        no_contact_sharing_switch(form);
        for channel in ["mail", "phone"] {
            for side in ["inbound", "outbound"] {
                let field = format!("{channel}_{side}_filter_mode");
                form.unserved(&field, "One filter mode for both directions is kept here");
            }
        }
        for field in ["slack_filter_mode", "slack_inbound_filter_mode", "slack_outbound_filter_mode"] {
            form.unserved(field, "Slack is not served here");
        }
        Some(Self { update, imessage_number: owned.or(claimed) })
    }
}

/// What a claim in an update cannot be combined with.
fn check_claim(form: &mut Form, imessage_enabled: Option<bool>) {
    if !form.is_set("claim_imessage_number") {
        return;
    }
    if form.has("imessage_number_id") {
        form.refuse("claim_imessage_number", "Cannot be combined with imessage_number_id");
    }
    if imessage_enabled == Some(false) {
        form.refuse("claim_imessage_number", "Cannot be combined with imessage_enabled false");
    }
}
