//! Mailboxes, which are created and destroyed through identities only. Contract, sections 1.2 and 8.

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::{Channel, Command as IdentityCommand, Update};
use identity_log::Committed;
use identity_projections::document::Mailbox;
use identity_projections::identities::{self, Part, Row};
use serde::Serialize;

use super::{filter_mode_change_notice, json};
use crate::caller::{Caller, Segments};
use crate::conditional::{Revision, expected_version, unless_current, unless_known};
use crate::error::ApiError;
use crate::form::{Body, Form, choice};
use crate::reply::{Answer, Reply, Source, Subject};

/// A mailbox in full. Mail itself is not stored here, so it takes no room and has no limit.
#[derive(Debug, Serialize)]
struct FullMailbox {
    #[serde(flatten)]
    mailbox: Mailbox,
    storage_used_bytes: u64,
    storage_limit_bytes: Option<u64>,
}

impl From<Row> for FullMailbox {
    fn from(owner: Row) -> Self {
        Self { mailbox: owner.document.mailbox, storage_used_bytes: 0, storage_limit_bytes: None }
    }
}

/// `GET /mail/mailboxes`: newest first.
#[utoipa::path(
    get,
    path = "/api/v1/mail/mailboxes",
    tag = "Mailboxes",
    summary = "List mailboxes",
    description = "Newest first; an agent sees its own.",
    responses((status = 200, description = "The mailboxes", body = Vec<crate::openapi::schemas::FullMailbox>)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-None-Match"], "errors": []}))),
)]
pub(crate) async fn list_mailboxes(caller: Caller, headers: HeaderMap) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || {
        let owners = identities::owners(caller.pool(), caller.organization_id(), &caller.viewer()).await?;
        json(StatusCode::OK, &owners.into_iter().map(FullMailbox::from).collect::<Vec<_>>())
    })
    .await
}

/// `GET /mail/mailboxes/{email_address}`: the whole address or its local part, in any case.
#[utoipa::path(
    get,
    path = "/api/v1/mail/mailboxes/{email_address}",
    tag = "Mailboxes",
    summary = "Get a mailbox",
    description = "",
    responses((status = 200, description = "The mailbox", body = crate::openapi::schemas::FullMailbox)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-None-Match"], "errors": ["mailbox_not_found"]}))),
)]
pub(crate) async fn get_mailbox(
    caller: Caller,
    Segments(address): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let owner = find(&caller, &address).await?;
    let revision = Revision::from(&owner);
    Ok(unless_current(&headers, revision, serde_json::to_string(&FullMailbox::from(owner))?))
}

async fn find(caller: &Caller, address: &str) -> Result<Row, ApiError> {
    // Postgres cannot hold NUL, so no address has one (D18).
    if address.contains('\0') {
        return Err(ApiError::mailbox_not_found());
    }
    let address = address.to_ascii_lowercase();
    let address =
        if address.contains('@') { address } else { format!("{address}@{}", caller.settings().mail_domain) };
    let part = Part::Mailbox(&address);
    let owner = identities::owner_of(caller.pool(), caller.organization_id(), &caller.viewer(), part).await?;
    owner.ok_or_else(ApiError::mailbox_not_found)
}

/// `PATCH /mail/mailboxes/{email_address}`: 200 with the mailbox, and a notice when its filter mode really changed.
#[utoipa::path(
    patch,
    path = "/api/v1/mail/mailboxes/{email_address}",
    tag = "Mailboxes",
    summary = "Change the filter mode of a mailbox",
    description = "",
    responses((status = 200, description = "The mailbox", body = crate::openapi::schemas::FullMailbox)),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-Match"], "errors": ["mailbox_not_found"], "body": "UpdateMailbox"}))),
)]
pub(crate) async fn update_mailbox(
    caller: Caller,
    Segments(address): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let owner = find(&caller, &address).await?;
    caller.admins_only("Changing a mailbox")?;
    let mut form = Form::parse(&body)?;
    if form.has("display_name") {
        form.forbid_others(
            &["filter_mode"],
            "Not here: set display_name with PATCH /api/v1/identities/{agent_handle}",
        );
    } else {
        form.forbid_others(&["filter_mode"], "Extra inputs are not permitted");
    }
    let mail_filter_mode = form.optional("filter_mode", choice);
    let update = form.finish(Some(Update { mail_filter_mode, ..Update::default() }))?;
    let expected = expected_version(&headers, &owner)?;
    let command = IdentityCommand::Update(Box::new(update));
    let id = owner.document.id;
    let reply = Changed { owner: caller.subject(id) };
    caller.write(id, Command::Identity(command), expected, reply).await
}

/// Answers with the mailbox.
struct Changed {
    owner: Subject,
}

#[async_trait]
impl Reply for Changed {
    async fn compose(&self, source: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let mut owner = self.owner.row(source, committed).await?;
        owner.document.mailbox.filter_mode_change_notice =
            filter_mode_change_notice(committed, Channel::Mail);
        Answer::json(StatusCode::OK, &FullMailbox::from(owner))
    }
}
