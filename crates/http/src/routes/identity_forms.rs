//! Bodies of identity requests. Unknown fields are ignored: clients of other versions send some (D16).

use identity_domain::Handle;
use identity_domain::identity::{Create, Mailbox, PhoneOrder, TlsMode, Tunnel, Update};
use identity_domain::phone::{CallAction, CallHandling, UsState};
use identity_domain::{NumberWish, SecretSelection, url};
use identity_log::ids;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::caller::AppSettings;
use crate::error::ApiError;
use crate::form::{Complaint, Form, boolean, choice, parsed, text, uuid};

/// The longest display name, in characters.
const LONGEST_DISPLAY_NAME: usize = 255;

/// The longest text that a handle is looked for in; everything longer is refused by its length.
const LONGEST_HANDLE_TEXT: usize = usize::MAX;

/// Fields that an agent may not change, not even on itself (D6).
pub(crate) const ADMIN_FIELDS: [&str; 6] = [
    "imessage_filter_mode",
    "mail_filter_mode",
    "phone_filter_mode",
    "status",
    "imessage_number_id",
    "imessage_number_type",
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

impl CreateForm {
    pub(crate) fn read(mut form: Form, settings: &AppSettings) -> Result<Self, ApiError> {
        let handle = form.required("agent_handle", parsed(LONGEST_HANDLE_TEXT, Handle::parse));
        let display_name = form.lenient("display_name", text(LONGEST_DISPLAY_NAME));
        let description = form.lenient("description", text(settings.longest_description));
        let imessage_enabled = form.optional("imessage_enabled", boolean).unwrap_or(false);
        let imessage_number = form.lenient("imessage_number_type", choice);
        if imessage_number.is_some() && !imessage_enabled {
            form.refuse("imessage_number_type", "Needs imessage_enabled to be true");
        }
        form.nested("mailbox", |mailbox| check_mailbox(mailbox, handle.as_ref(), settings));
        let tls_mode = form.nested("tunnel", |tunnel| tunnel.lenient("tls_mode", choice)).flatten();
        let phone = form.nested("phone_number", |phone| phone_order(phone, true));
        let secrets = form.lenient("vault_secret_ids", secret_selection);
        let agent_handle = form.finish(handle)?;
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
                tls_mode: tls_mode.unwrap_or(TlsMode::Edge),
                zone: settings.tunnel_zone.clone(),
            },
            agent_handle,
            phone,
            secrets,
        };
        Ok(Self { create, imessage_number })
    }
}

/// On the platform's domain, the only one there is, the local part is the handle. Contract, section 2.1.
fn check_mailbox(form: &mut Form, handle: Option<&Handle>, settings: &AppSettings) {
    let local_part = form.lenient("email_local_part", text(LONGEST_DISPLAY_NAME));
    let differs =
        |local_part: &str| handle.is_some_and(|handle| !local_part.eq_ignore_ascii_case(handle.as_str()));
    if local_part.is_some_and(|local_part| differs(&local_part)) {
        form.refuse("email_local_part", "On the platform domain the local part is the agent handle");
    }
    let domain = form.lenient("sending_domain", text(LONGEST_DISPLAY_NAME));
    if domain.is_some_and(|domain| !domain.eq_ignore_ascii_case(&settings.mail_domain)) {
        form.refuse("sending_domain", "Not a verified sending domain of this organization");
    }
}

/// A phone number that is ordered. Contract, sections 2.2 and 6.2.
pub(crate) fn phone_order(form: &mut Form, nested: bool) -> PhoneOrder {
    form.lenient("type", number_type);
    let state = form.lenient("state", parsed(2, UsState::parse));
    let calls = CallHandling {
        incoming_call_action: form.lenient("incoming_call_action", choice).unwrap_or(CallAction::AutoReject),
        client_websocket_url: form.lenient("client_websocket_url", websocket_url),
        incoming_call_webhook_url: form.lenient("incoming_call_webhook_url", webhook_url),
    };
    let filter_mode = if nested { None } else { form.lenient("filter_mode", choice) };
    if let Some(missing) = calls.missing_address().filter(|field| !form.has_value(field)) {
        form.refuse(missing, "Field required by this incoming_call_action");
    }
    PhoneOrder {
        id: ids::mint(),
        wish: NumberWish { state },
        calls,
        filter_mode: filter_mode.unwrap_or_default(),
    }
}

fn number_type(value: &Value) -> Result<(), Complaint> {
    if value == "local" { Ok(()) } else { Err(Complaint::new("enum", "Input should be 'local'")) }
}

/// An address for accepted calls.
pub(crate) fn websocket_url(value: &Value) -> Result<String, Complaint> {
    url_text("wss", value)
}

/// An address to ask about calls.
pub(crate) fn webhook_url(value: &Value) -> Result<String, Complaint> {
    url_text("https", value)
}

fn url_text(scheme: &'static str, value: &Value) -> Result<String, Complaint> {
    parsed(2048, |text| url::check(scheme, text).map(|()| text.to_owned()))(value)
}

/// One id, a list of ids, or all. Contract, section 2.3.
fn secret_selection(value: &Value) -> Result<SecretSelection, Complaint> {
    match value {
        Value::String(all) if all == "*" || all == "all" => Ok(SecretSelection::All),
        Value::String(_) => Ok(SecretSelection::These(vec![uuid(value)?])),
        Value::Array(ids) => Ok(SecretSelection::These(ids.iter().map(uuid).collect::<Result<_, _>>()?)),
        _ => Err(Complaint::new("value_error", "Input should be a UUID, a list of UUIDs, \"*\" or \"all\"")),
    }
}

/// Body of `PATCH /identities/{agent_handle}`. Contract, section 3.3.
#[derive(Debug)]
pub(crate) struct UpdateForm {
    pub(crate) update: Update,
    pub(crate) imessage_number: Option<ImessageNumber>,
}

impl UpdateForm {
    pub(crate) fn read(mut form: Form, settings: &AppSettings) -> Result<Self, ApiError> {
        let update = Update {
            agent_handle: form.optional("agent_handle", parsed(LONGEST_HANDLE_TEXT, Handle::parse)),
            display_name: form.nullable("display_name", text(LONGEST_DISPLAY_NAME)),
            description: form.nullable("description", text(settings.longest_description)),
            imessage_enabled: form.optional("imessage_enabled", boolean),
            imessage_filter_mode: form.optional("imessage_filter_mode", choice),
            mail_filter_mode: form.optional("mail_filter_mode", choice),
            phone_filter_mode: form.optional("phone_filter_mode", choice),
            status: form.optional("status", choice),
        };
        let owned = form.lenient("imessage_number_id", uuid).map(ImessageNumber::Owned);
        let claimed = form.lenient("imessage_number_type", choice).map(ImessageNumber::Claimed);
        let update = form.finish(Some(update))?;
        Ok(Self { update, imessage_number: owned.or(claimed) })
    }
}
