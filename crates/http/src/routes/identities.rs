//! Identities. Contract, sections 2 and 3.

mod list;

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::Command as IdentityCommand;
use identity_log::Committed;
use identity_projections::identities::IdentityBody;

use super::identity_forms::{ADMIN_FIELDS, CreateForm, ImessageNumber, UpdateForm};
use super::past;
use crate::caller::{Admin, Caller, Holder, Segments};
use crate::conditional::{expected_version, unless_current, unless_known};
use crate::error::ApiError;
use crate::form::{Body, Fault, Form};
use crate::reply::{Answer, Done, NewBody, Reply, Source, Subject, made};

/// `POST /api/v1/identities`: 201 with the identity.
#[utoipa::path(
    post,
    path = "/api/v1/identities",
    tag = "Identities",
    summary = "Create an identity",
    description = "With its mailbox and its tunnel, and with a phone number if one is wanted: all of it or nothing.",
    responses((status = 201, description = "The identity", body = crate::openapi::schemas::Identity)),
    extensions(("x-about" = json!({"key": "admin", "parameters": [], "errors": ["agent_handle_unavailable", "identity_exists", "no_phone_number_available", "vault_secret_not_found", "dedicated_imessage_number_inventory_pending"], "body": "CreateIdentity"}))),
)]
pub(crate) async fn create_identity(Admin(caller): Admin, body: Body) -> Result<Response, ApiError> {
    let form = CreateForm::read(Form::parse(&body)?, caller.settings())?;
    if let Some(number) = form.imessage_number {
        return Err(ApiError::imessage_inventory_pending(number.as_str()));
    }
    let id = form.create.id;
    let command = IdentityCommand::Create(Box::new(form.create));
    caller.write(id, Command::Identity(command), None, Newborn).await
}

/// Answers with what was just created.
struct Newborn;

#[async_trait]
impl Reply for Newborn {
    async fn compose(&self, _: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let row =
            made(committed).ok_or_else(|| ApiError::internal("a created identity has no row".to_owned()))?;
        Ok(Answer::found(StatusCode::CREATED, &NewBody::with_access(row, String::new())?.found))
    }
}

/// `GET /api/v1/identities`: every identity the caller may see, newest first, or a page of those that were asked for; with
/// `as_of`, every identity there was.
#[utoipa::path(
    get,
    path = "/api/v1/identities",
    tag = "Identities",
    summary = "List identities",
    description = "Newest first. Without parameters the whole list; with `limit` or `cursor` a page, and the next in the header `Link`.",
    responses((status = 200, description = "The identities", body = Vec<crate::openapi::schemas::Identity>)),
    extensions(("x-about" = json!({"key": "holder", "parameters": ["limit", "cursor", "status", "handle_prefix", "created_after", "created_before", "q", "as_of", "If-None-Match"], "errors": ["before_history"]}))),
)]
pub(crate) async fn list_identities(
    holder: Holder,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(asked) = past::asked(query.as_deref(), &list::PARAMETERS) {
        return past::list(holder.historian()?, asked).await;
    }
    let caller = holder.caller()?;
    let wanted = list::Wanted::read(query.as_deref(), &caller)?;
    unless_known(&caller, &headers, async || list::answer(wanted, &caller).await).await
}

/// `GET /api/v1/identities/{agent_handle}`; with `as_of`, the identity that had the handle then.
#[utoipa::path(
    get,
    path = "/api/v1/identities/{agent_handle}",
    tag = "Identities",
    summary = "Get an identity",
    description = "What the key may not see is not found.",
    responses((status = 200, description = "The identity", body = crate::openapi::schemas::Identity)),
    extensions(("x-about" = json!({"key": "holder", "parameters": ["as_of_version", "If-None-Match"], "errors": ["identity_not_found", "before_history"]}))),
)]
pub(crate) async fn get_identity(
    holder: Holder,
    Segments(handle): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(asked) = past::asked(query.as_deref(), &[]) {
        return past::get(holder.historian()?, asked, &handle).await;
    }
    let caller = holder.caller()?;
    let found = caller.find(&handle).await?;
    Ok(unless_current(&headers, &*found, found.body()))
}

/// `PATCH /api/v1/identities/{agent_handle}`: 200 with the whole identity, changed or not.
#[utoipa::path(
    patch,
    path = "/api/v1/identities/{agent_handle}",
    tag = "Identities",
    summary = "Change an identity",
    description = "What is absent stays. An agent changes nobody but itself.",
    responses((status = 200, description = "The whole identity, changed or not", body = crate::openapi::schemas::Identity)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-Match"], "errors": ["identity_not_found", "imessage_number_not_found", "agent_handle_unavailable", "dedicated_imessage_number_inventory_pending"], "body": "UpdateIdentity"}))),
)]
pub(crate) async fn update_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let found = caller.find_own(&handle).await?;
    let form = Form::parse(&body)?;
    if ADMIN_FIELDS.iter().any(|field| form.has(field)) {
        caller.admins_only("Changing filter modes, status or numbers")?;
    }
    let form = UpdateForm::read(form, caller.settings())?;
    match form.imessage_number {
        Some(ImessageNumber::Owned(_)) => return Err(ApiError::imessage_number_not_found()),
        Some(ImessageNumber::Claimed(_)) if !headers.contains_key("idempotency-key") => {
            return Err(ApiError::invalid(vec![Fault::header("idempotency-key")]));
        }
        Some(ImessageNumber::Claimed(kind)) => {
            return Err(ApiError::imessage_inventory_pending(kind.as_str()));
        }
        None => {}
    }
    let expected = expected_version(&headers, &*found)?;
    let command = IdentityCommand::Update(Box::new(form.update));
    let id = found.id;
    let reply = Updated { identity: caller.subject(id), before: found };
    caller.write(id, Command::Identity(command), expected, reply).await
}

/// Answers with the whole identity.
struct Updated {
    identity: Subject,
    before: Arc<IdentityBody>,
}

#[async_trait]
impl Reply for Updated {
    async fn compose(&self, source: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        // Rows that name viewers end with these, whoever ended them meanwhile.
        if !self.before.names_viewers()
            && let Some(shown) = NewBody::after(&self.before, committed)?
        {
            return Ok(Answer::identity(StatusCode::OK, shown));
        }
        let found = self.identity.found(source, committed).await?;
        Ok(Answer::found(StatusCode::OK, &found))
    }
}

/// `DELETE /api/v1/identities/{agent_handle}`: 204, with everything that belongs to it.
#[utoipa::path(
    delete,
    path = "/api/v1/identities/{agent_handle}",
    tag = "Identities",
    summary = "Delete an identity",
    description = "With everything that belongs to it; its names stay reserved for a while.",
    responses((status = 204, description = "Done")),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-Match"], "errors": ["identity_not_found"]}))),
)]
pub(crate) async fn delete_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = caller.find(&handle).await?;
    caller.admins_only("Deleting an identity")?;
    let expected = expected_version(&headers, &*found)?;
    caller.write(found.id, Command::Identity(IdentityCommand::Delete), expected, Done).await
}
