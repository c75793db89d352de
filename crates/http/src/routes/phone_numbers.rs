//! Phone numbers. Contract, sections 5 and 6. An agent sees and changes its own number only.

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use identity_domain::identity::{Channel, Command as IdentityCommand, PhoneChange};
use identity_domain::{Command, Handle};
use identity_log::Committed;
use identity_projections::document::PhoneNumber;
use identity_projections::identities::{self, Part, Row};
use uuid::Uuid;

use super::identity_forms::{phone_order, webhook_url, websocket_url};
use super::{filter_mode_change_notice, json};
use crate::caller::{Caller, Segments, uuid_segment};
use crate::conditional::{expected_version, unless_current, unless_known};
use crate::error::ApiError;
use crate::form::{Body, Form, choice, parsed};
use crate::reply::{Answer, Done, Reply, Source, Subject};

/// `GET /phone/numbers`: newest first; released ones are gone.
#[utoipa::path(
    get,
    path = "/api/v1/phone/numbers",
    tag = "Phone numbers",
    summary = "List phone numbers",
    description = "Newest first; an agent sees its own.",
    responses((status = 200, description = "The numbers", body = Vec<crate::openapi::schemas::PhoneNumber>)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-None-Match"], "errors": []}))),
)]
pub(crate) async fn list_phone_numbers(caller: Caller, headers: HeaderMap) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || {
        let owners = identities::owners(caller.pool(), caller.organization_id(), &caller.viewer()).await?;
        let mut numbers: Vec<PhoneNumber> =
            owners.into_iter().filter_map(|owner| owner.document.phone_number).collect();
        // All timestamps are written with the same width, so their texts sort as they do.
        numbers.sort_by(|one, other| (&other.created_at, other.id).cmp(&(&one.created_at, one.id)));
        json(StatusCode::OK, &numbers)
    })
    .await
}

/// `POST /phone/numbers`: 201 with the number, which is bound to its identity for life.
#[utoipa::path(
    post,
    path = "/api/v1/phone/numbers",
    tag = "Phone numbers",
    summary = "Provision a phone number",
    description = "It is bound to its identity for life.",
    responses((status = 201, description = "The number", body = crate::openapi::schemas::PhoneNumber)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-Match"], "errors": ["identity_not_found", "no_phone_number_available", "phone_number_exists"], "body": "ProvisionPhoneNumber"}))),
)]
pub(crate) async fn provision_phone_number(
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut form = Form::parse(&body)?;
    if form.has("filter_mode") {
        caller.admins_only("Setting a filter mode")?;
    }
    let handle = form.required("agent_handle", parsed(usize::MAX, Handle::parse));
    let order = phone_order(&mut form, false);
    let handle = form.finish(handle)?;
    let owner = caller.find_own(handle.as_str()).await?;
    let expected = expected_version(&headers, &*owner)?;
    let reply = Number { status: StatusCode::CREATED, owner: caller.subject(owner.id) };
    let command = IdentityCommand::ProvisionPhone(order);
    caller.write(owner.id, Command::Identity(command), expected, reply).await
}

/// Answers with a number, and with a notice when its filter mode really changed.
struct Number {
    status: StatusCode,
    owner: Subject,
}

#[async_trait]
impl Reply for Number {
    async fn compose(&self, source: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let owner = self.owner.row(source, committed).await?;
        let mut phone = owner.document.phone_number.ok_or_else(ApiError::phone_number_not_found)?;
        phone.filter_mode_change_notice = filter_mode_change_notice(committed, Channel::Phone);
        Answer::json(self.status, &phone)
    }
}

/// `GET /phone/numbers/{id}`.
#[utoipa::path(
    get,
    path = "/api/v1/phone/numbers/{phone_number_id}",
    tag = "Phone numbers",
    summary = "Get a phone number",
    description = "",
    responses((status = 200, description = "The number", body = crate::openapi::schemas::PhoneNumber)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-None-Match"], "errors": ["phone_number_not_found"]}))),
)]
pub(crate) async fn get_phone_number(
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = uuid_segment("phone_number_id", &id)?;
    let (owner, phone) = find(&caller, id).await?;
    Ok(unless_current(&headers, &owner, serde_json::to_string(&phone)?))
}

/// A number, and whose it is.
async fn find(caller: &Caller, id: Uuid) -> Result<(Row, PhoneNumber), ApiError> {
    let part = Part::PhoneNumber(id);
    let mut owner =
        identities::owner_of(caller.pool(), caller.organization_id(), &caller.viewer(), part).await?;
    let phone = owner.as_mut().and_then(|owner| owner.document.phone_number.take());
    owner.zip(phone).ok_or_else(ApiError::phone_number_not_found)
}

/// `PATCH /phone/numbers/{id}`: 200 with the number, and a notice when its filter mode really changed.
#[utoipa::path(
    patch,
    path = "/api/v1/phone/numbers/{phone_number_id}",
    tag = "Phone numbers",
    summary = "Change a phone number",
    description = "What is absent stays.",
    responses((status = 200, description = "The number", body = crate::openapi::schemas::PhoneNumber)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-Match"], "errors": ["phone_number_not_found"], "body": "UpdatePhoneNumber"}))),
)]
pub(crate) async fn update_phone_number(
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = uuid_segment("phone_number_id", &id)?;
    let (owner, _) = find(&caller, id).await?;
    let mut form = Form::parse(&body)?;
    if form.has("filter_mode") {
        caller.admins_only("Changing a filter mode")?;
    }
    let change = PhoneChange {
        phone_number_id: id,
        incoming_call_action: form.optional("incoming_call_action", choice),
        client_websocket_url: form.nullable("client_websocket_url", websocket_url),
        incoming_call_webhook_url: form.nullable("incoming_call_webhook_url", webhook_url),
        filter_mode: form.optional("filter_mode", choice),
    };
    let change = form.finish(Some(change))?;
    let expected = expected_version(&headers, &owner)?;
    let reply = Number { status: StatusCode::OK, owner: caller.subject(owner.document.id) };
    let command = IdentityCommand::ChangePhone(change);
    caller.write(owner.document.id, Command::Identity(command), expected, reply).await
}

/// `DELETE /phone/numbers/{id}`: 204; it cannot be undone.
#[utoipa::path(
    delete,
    path = "/api/v1/phone/numbers/{phone_number_id}",
    tag = "Phone numbers",
    summary = "Release a phone number",
    description = "It cannot be undone.",
    responses((status = 204, description = "Done")),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-Match"], "errors": ["phone_number_not_found"]}))),
)]
pub(crate) async fn release_phone_number(
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = uuid_segment("phone_number_id", &id)?;
    let (owner, _) = find(&caller, id).await?;
    let expected = expected_version(&headers, &owner)?;
    release(&caller, owner.document.id, Some(id), expected).await
}

/// `DELETE /identities/{agent_handle}/phone_number`: 204.
#[utoipa::path(
    delete,
    path = "/api/v1/identities/{agent_handle}/phone_number",
    tag = "Phone numbers",
    summary = "Release the phone number of an identity",
    description = "It cannot be undone.",
    responses((status = 204, description = "Done")),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-Match"], "errors": ["identity_not_found", "phone_number_not_found"]}))),
)]
pub(crate) async fn release_phone_number_of_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let owner = caller.find_own(&handle).await?;
    let expected = expected_version(&headers, &*owner)?;
    release(&caller, owner.id, None, expected).await
}

async fn release(
    caller: &Caller,
    owner: Uuid,
    phone_number_id: Option<Uuid>,
    expected: Option<i64>,
) -> Result<Response, ApiError> {
    let command = IdentityCommand::ReleasePhone { phone_number_id };
    caller.write(owner, Command::Identity(command), expected, Done).await
}
