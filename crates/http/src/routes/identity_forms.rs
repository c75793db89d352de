//! Bodies of identity requests. Fields that no client knows are ignored; a field that some release of a published client
//! sends is honoured or refused (D16).

use identity_domain::Handle;
use identity_domain::SecretSelection;
use identity_domain::identity::{Create, Mailbox, SignatureChange, TlsMode, Tunnel, Update};
use identity_log::ids;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::filter_forms::{FILTER_FIELDS, FilterModes};
use super::phone_forms::phone_order;
use crate::caller::AppSettings;
use crate::fault::Complaint;
use crate::form::reader::{Reader, boolean, choice, handle, read_choice, read_uuid, text, uuid};
use crate::form::{Form, ReadForm};

/// The longest display name, in characters.
const LONGEST_DISPLAY_NAME: usize = 255;

/// Fields that an agent may not change, not even its own (D6). Filter modes are such fields, too.
const ADMIN_FIELDS: [&str; 4] =
    ["status", "imessage_number_id", "imessage_number_type", "claim_imessage_number"];

/// Whether an update has a field that is for admins.
pub(crate) fn is_for_admins(form: &Form) -> bool {
    ADMIN_FIELDS.iter().chain(&FILTER_FIELDS).any(|field| form.has(field))
}

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
        let contact_sharing_enabled =
            form.optional("contact_sharing_enabled", CONTACT_SHARING, boolean()).unwrap_or(true);
        form.nested("mailbox", "Options of the mailbox, which is on the platform's domain", |mailbox| {
            check_mailbox(mailbox, handle.as_ref(), settings);
        });
        let tls_mode = form.nested("tunnel", "Options of the tunnel", |tunnel| {
            let about = "Who terminates TLS, which cannot be changed later; the edge if absent";
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
            contact_sharing_enabled,
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

const CONTACT_SHARING: &str =
    "Whether a dedicated iMessage number shares the contact; true if it was never set";

/// The text about every field `description` in the OpenAPI document.
pub(crate) const DESCRIPTION: &str =
    "At most 10,000 characters, unless the service is set otherwise; an empty text is not null";

const NO_NUMBERS_YET: &str = "`dedicated_inbound` or `dedicated_outbound` are known, and answered with 503 \
    `dedicated_imessage_number_inventory_pending`: there are no such numbers yet, so only null is of use";

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

/// Reads `true`. The schema has only null, since every claim is refused.
fn only_true() -> impl Reader<Value, ()> {
    let read = |value: &Value| match value {
        Value::Bool(true) => Ok(()),
        _ => Err(Complaint::new("literal_error", "Input should be true")),
    };
    (read, || json!({ "type": "null" }))
}

/// Reads a kind of number. The schema has only null, since there are no numbers of any kind.
fn imessage_number_type() -> impl Reader<Value, ImessageNumberType> {
    (read_choice, || json!({ "type": "null" }))
}

/// The platform's domain is the only one, and on it the local part is the handle. Contract, section 2.1.
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
    const EXAMPLE: &'static str = r#"{ "display_name": "Harbor desk", "description": "answers the door" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let modes = FilterModes::read(form);
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
            contact_sharing_enabled: form.optional("contact_sharing_enabled", CONTACT_SHARING, boolean()),
            imessage_filter_mode: modes.imessage,
            mail_filter_mode: modes.mail,
            mail_directions: modes.mail_directions,
            phone_filter_mode: modes.phone,
            phone_directions: modes.phone_directions,
            signature: SignatureChange::default(),
            status: form.optional("status", "For admins", choice()),
        };
        let about = "A dedicated iMessage number; there are none yet, so every id is answered 404";
        let owned = form.lenient("imessage_number_id", about, uuid()).map(ImessageNumber::Owned);
        let claimed = claimed_number(form).map(ImessageNumber::Claimed);
        check_claim(form, update.imessage_enabled);
        Some(Self { update, imessage_number: owned.or(claimed) })
    }
}

/// Refuses a claim beside fields that contradict it.
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
