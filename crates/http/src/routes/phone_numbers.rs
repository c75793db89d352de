//! Phone numbers. Contract, sections 5 and 6. An agent sees and changes its own number only.

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::identity::{Channel, Command as IdentityCommand, PhoneChange, PhoneOrder};
use identity_domain::{Command, Handle};
use identity_log::Committed;
use identity_projections::document::PhoneNumber;
use identity_projections::identities::{self, Part, Row};
use uuid::Uuid;

use super::phone_forms::{CALL_ACTION, call_change, phone_order};
use super::{filter_mode_change_notice, json_text, owned};
use crate::caller::{AppSettings, Caller, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::{unless_current, unless_known};
use crate::error::ApiError;
use crate::form::reader::{choice, handle};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::precondition::expected_version;
use crate::reply::Done;

/// List phone numbers
///
/// Newest first; an agent sees its own.
#[utoipa::path(get, path = "/api/v1/phone/numbers", tag = "Phone numbers",
    responses((status = 200, description = "The numbers", body = Vec<PhoneNumber>)))]
pub(crate) async fn list_phone_numbers(
    caller: Caller,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || {
        let numbers =
            identities::phone_numbers(caller.pool().await, caller.organization_id(), &caller.viewer())
                .await?;
        caller.turn_for(numbers.iter().map(String::len).sum()).await;
        Ok(json_text(StatusCode::OK, format!("[{}]", numbers.join(","))))
    })
    .await
}

/// Provision a phone number
///
/// It is bound to its identity for life.
#[utoipa::path(post, path = "/api/v1/phone/numbers", tag = "Phone numbers",
    responses((status = 201, description = "The number", body = PhoneNumber)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::NoPhoneNumberAvailable, Code::PhoneNumberExists]))))]
pub(crate) async fn provision_phone_number(
    caller: Caller,
    IfMatch(headers): IfMatch,
    body: Sent<ProvisionForm>,
) -> Result<Response, ApiError> {
    let ProvisionForm { handle, order } = body.read_if(caller.settings(), |form| {
        if form.has("filter_mode") { caller.admins_only("Setting a filter mode") } else { Ok(()) }
    })?;
    let owner = caller.find_own(handle.as_str()).await?;
    let expected = expected_version(&headers, &*owner)?;
    let reply = owned::PartReply { status: StatusCode::CREATED, body: changed };
    let command = IdentityCommand::ProvisionPhone(order);
    caller.write(owner.id, Command::Identity(command), expected, reply).await
}

/// Body of `POST /phone/numbers`. Contract, section 6.2.
#[derive(Debug)]
pub(crate) struct ProvisionForm {
    handle: Handle,
    order: PhoneOrder,
}

impl ReadForm for ProvisionForm {
    const NAME: &'static str = "ProvisionPhoneNumber";
    const EXAMPLE: &'static str = r#"{ "agent_handle": "harbor-desk", "state": "NY" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let handle = form.required("agent_handle", "The identity that gets it, for life", handle());
        let order = phone_order(form, false);
        Some(Self { handle: handle?, order })
    }
}

/// The number after a write, with a notice if its filter mode really changed.
fn changed(owner: Row, committed: &Committed) -> Result<PhoneNumber, ApiError> {
    let mut phone = owner.document.phone_number.ok_or_else(ApiError::phone_number_not_found)?;
    phone.filter_mode_change_notice = filter_mode_change_notice(committed, Channel::Phone);
    Ok(phone)
}

/// Get a phone number
#[utoipa::path(get, path = "/api/v1/phone/numbers/{phone_number_id}", tag = "Phone numbers",
    responses((status = 200, description = "The number", body = PhoneNumber)),
    extensions(("x-errors" = json!([Code::PhoneNumberNotFound]))))]
pub(crate) async fn get_phone_number(
    caller: Caller,
    Segments(id): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let id = uuid_segment("phone_number_id", &id)?;
    let (owner, phone) = find(&caller, id).await?;
    Ok(unless_current(&headers, &owner, serde_json::to_string(&phone)?))
}

/// A phone number, and the identity that has it.
async fn find(caller: &Caller, id: Uuid) -> Result<(Row, PhoneNumber), ApiError> {
    let part = Part::PhoneNumber(id);
    let mut owner =
        identities::owner_of(caller.pool().await, caller.organization_id(), &caller.viewer(), part).await?;
    let phone = owner.as_mut().and_then(|owner| owner.document.phone_number.take());
    owner.zip(phone).ok_or_else(ApiError::phone_number_not_found)
}

/// Change a phone number
///
/// Absent fields stay unchanged.
#[utoipa::path(patch, path = "/api/v1/phone/numbers/{phone_number_id}", tag = "Phone numbers",
    responses((status = 200, description = "The number", body = PhoneNumber)),
    extensions(("x-errors" = json!([Code::PhoneNumberNotFound]))))]
pub(crate) async fn update_phone_number(
    caller: Caller,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<UpdateForm>,
) -> Result<Response, ApiError> {
    let id = uuid_segment("phone_number_id", &id)?;
    let (owner, _) = find(&caller, id).await?;
    let UpdateForm(change) = body.read_if(caller.settings(), |form| {
        if form.has("filter_mode") { caller.admins_only("Changing a filter mode") } else { Ok(()) }
    })?;
    let change = PhoneChange { phone_number_id: id, ..change };
    let expected = expected_version(&headers, &owner)?;
    let owner_id = owner.document.id;
    let reply = owned::PartReply { status: StatusCode::OK, body: changed };
    let command = IdentityCommand::ChangePhone(change);
    caller.write(owner_id, Command::Identity(command), expected, reply).await
}

/// Body of `PATCH /phone/numbers/{id}`. The handler adds the id of the number. Contract, section 6.4.
#[derive(Debug)]
pub(crate) struct UpdateForm(PhoneChange);

impl ReadForm for UpdateForm {
    const NAME: &'static str = "UpdatePhoneNumber";
    const EXAMPLE: &'static str =
        r#"{ "incoming_call_action": "webhook", "incoming_call_webhook_url": "https://example.com/calls" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let action = form.optional("incoming_call_action", CALL_ACTION, choice());
        let filter_mode = form.optional("filter_mode", "Filter mode; for admins", choice());
        Some(Self(PhoneChange { filter_mode, ..call_change(form, action) }))
    }
}

/// Release a phone number
///
/// It cannot be undone.
#[utoipa::path(delete, path = "/api/v1/phone/numbers/{phone_number_id}", tag = "Phone numbers",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::PhoneNumberNotFound]))))]
pub(crate) async fn release_phone_number(
    caller: Caller,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let id = uuid_segment("phone_number_id", &id)?;
    let (owner, _) = find(&caller, id).await?;
    let expected = expected_version(&headers, &owner)?;
    release(&caller, owner.document.id, Some(id), expected).await
}

/// Release the phone number of an identity
///
/// It cannot be undone.
#[utoipa::path(delete, path = "/api/v1/identities/{agent_handle}/phone_number", tag = "Phone numbers",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::PhoneNumberNotFound]))))]
pub(crate) async fn release_phone_number_of_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
    IfMatch(headers): IfMatch,
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
