//! Mailboxes, which are created and destroyed through identities only. Contract, sections 1.2 and 8.

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::{Channel, Command as IdentityCommand, FilterMode, SignatureChange, Update};
use identity_log::Committed;
use identity_projections::bodies::FullMailbox;
use identity_projections::identities::{self, Part, Row};

use super::{filter_mode_change_notice, owned};
use crate::caller::{AdminAfterLookup, AppSettings, Caller, Segments};
use crate::code::Code;
use crate::conditional::{unless_current, unless_known};
use crate::error::ApiError;
use crate::form::reader::{boolean, choice, text};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::html::text_of;
use crate::precondition::expected_version;
use crate::revision::Revision;

/// List mailboxes
///
/// Newest first; an agent sees its own.
#[utoipa::path(get, path = "/api/v1/mail/mailboxes", tag = "Mailboxes",
    responses((status = 200, description = "The mailboxes", body = Vec<FullMailbox>)))]
pub(crate) async fn list_mailboxes(
    caller: Caller,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let form = owned::ListShape {
        before: "[",
        behind: "]",
        write: |row| serde_json::to_string(&FullMailbox::from(row)),
    };
    unless_known(&caller, &headers, async || owned::list(&caller, form).await).await
}

/// Get a mailbox
#[utoipa::path(get, path = "/api/v1/mail/mailboxes/{email_address}", tag = "Mailboxes",
    responses((status = 200, description = "The mailbox", body = FullMailbox)),
    extensions(("x-errors" = json!([Code::MailboxNotFound]))))]
pub(crate) async fn get_mailbox(
    caller: Caller,
    Segments(address): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let owner = find(&caller, &address).await?;
    let revision = Revision::from(&owner);
    Ok(unless_current(&headers, revision, serde_json::to_string(&FullMailbox::from(owner))?))
}

async fn find(caller: &Caller, address: &str) -> Result<Row, ApiError> {
    // Postgres cannot store NUL, so no address has one (D18).
    if address.contains('\0') {
        return Err(ApiError::mailbox_not_found());
    }
    let address = address.to_ascii_lowercase();
    let address =
        if address.contains('@') { address } else { format!("{address}@{}", caller.settings().mail_domain) };
    let part = Part::Mailbox(&address);
    let owner =
        identities::owner_of(caller.pool().await, caller.organization_id(), &caller.viewer(), part).await?;
    owner.ok_or_else(ApiError::mailbox_not_found)
}

/// Change the filter mode or the signature of a mailbox
///
/// An agent is answered 403 for its own mailbox, and 404 for any other.
#[utoipa::path(patch, path = "/api/v1/mail/mailboxes/{email_address}", tag = "Mailboxes",
    responses((status = 200, description = "The mailbox", body = FullMailbox)),
    extensions(("x-errors" = json!([Code::MailboxNotFound]))))]
pub(crate) async fn update_mailbox(
    caller: AdminAfterLookup,
    Segments(address): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<UpdateForm>,
) -> Result<Response, ApiError> {
    let owner = find(caller.looking(), &address).await?;
    let caller = caller.admin("Changing a mailbox")?;
    let UpdateForm { mail_filter_mode, signature } = body.read(caller.settings())?;
    let update = Update { mail_filter_mode, signature, ..Update::default() };
    let expected = expected_version(&headers, &owner)?;
    let command = IdentityCommand::Update(Box::new(update));
    let id = owner.document.id;
    let body = |mut owner: Row, committed: &Committed| {
        owner.document.mailbox.filter_mode_change_notice =
            filter_mode_change_notice(committed, Channel::Mail);
        Ok(FullMailbox::from(owner))
    };
    let reply = owned::PartReply { status: StatusCode::OK, body };
    caller.write(id, Command::Identity(command), expected, reply).await
}

/// Body of `PATCH /mail/mailboxes/{email_address}`. Contract, section 8.
#[derive(Debug)]
pub(crate) struct UpdateForm {
    mail_filter_mode: Option<FilterMode>,
    signature: SignatureChange,
}

impl ReadForm for UpdateForm {
    const NAME: &'static str = "UpdateMailbox";
    const EXAMPLE: &'static str = r#"{ "filter_mode": "whitelist" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let message = if form.has("display_name") {
            "Not here: set display_name with PATCH /api/v1/identities/{agent_handle}"
        } else {
            "Extra inputs are not permitted"
        };
        form.forbid_others(&FIELDS, message);
        let mail_filter_mode = form.optional("filter_mode", "Filter mode, for both directions", choice());
        Some(Self { mail_filter_mode, signature: read_signature(form) })
    }
}

/// The fields of a mailbox that can be changed.
const FIELDS: [&str; 4] = ["filter_mode", "signature_html", "signature_text", "signature_enabled"];

/// The longest signature, in characters.
const LONGEST_SIGNATURE: usize = 16_384;

/// If only the HTML of a signature is given, its text is derived from it. Otherwise the text of the older signature
/// would stay.
fn read_signature(form: &mut Form) -> SignatureChange {
    let html = form.nullable(
        "signature_html",
        "A signature in HTML; null clears it. If the text is absent, it is derived from this",
        text(LONGEST_SIGNATURE),
    );
    let derived = html.as_ref().and_then(Option::as_deref).map(text_of);
    let about = "The signature as plain text; null clears it";
    let text = form.nullable("signature_text", about, text(LONGEST_SIGNATURE));
    let about = "Whether mail that goes out is to have the signature";
    SignatureChange {
        html,
        text: text.or_else(|| derived.map(|text| Some(text).filter(|text| !text.is_empty()))),
        is_enabled: form.optional("signature_enabled", about, boolean()),
    }
}
