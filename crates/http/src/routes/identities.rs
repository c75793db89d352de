//! Identities. Contract, sections 2 and 3.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use identity_domain::Command;
use identity_domain::identity::Command as IdentityCommand;
use identity_log::Committed;
use identity_projections::document::IdentityDocument;
use identity_projections::identities::{self, Found};

use super::identity_forms::{ADMIN_FIELDS, CreateForm, ImessageNumber, UpdateForm};
use super::json_text;
use crate::caller::{Admin, Caller, Segments};
use crate::error::ApiError;
use crate::form::{Body, Fault, Form};

/// `POST /api/v1/identities`: 201 with the identity.
pub(crate) async fn create_identity(Admin(caller): Admin, body: Body) -> Result<Response, ApiError> {
    let form = CreateForm::read(Form::parse(&body)?, caller.settings())?;
    if let Some(number) = form.imessage_number {
        return Err(ApiError::imessage_inventory_pending(number.as_str()));
    }
    let id = form.create.id;
    let command = IdentityCommand::Create(Box::new(form.create));
    let committed = caller.append(id, Command::Identity(command)).await?;
    Ok(json_text(StatusCode::CREATED, newborn(&committed)?.body()))
}

/// What was just created, folded from its own first events: nobody can have changed or seen it yet.
fn newborn(committed: &Committed) -> Result<Found, ApiError> {
    let document = committed.events.iter().fold(None, IdentityDocument::fold);
    let document =
        document.ok_or_else(|| ApiError::internal("a created identity folds to nothing".to_owned()))?;
    Ok(Found {
        id: document.id,
        version: committed.version,
        document: serde_json::to_string(&document)?,
        access: String::new(),
    })
}

/// `GET /api/v1/identities`: every identity the caller may see, newest first.
pub(crate) async fn list_identities(caller: Caller) -> Result<Response, ApiError> {
    let found = identities::list(caller.pool(), caller.organization_id(), &caller.eyes()).await?;
    let mut body = String::from("[");
    for (place, identity) in found.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        identity.write_body(&mut body);
    }
    body.push(']');
    Ok(json_text(StatusCode::OK, body))
}

/// `GET /api/v1/identities/{agent_handle}`.
pub(crate) async fn get_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
) -> Result<Response, ApiError> {
    Ok(json_text(StatusCode::OK, caller.find(&handle).await?.body()))
}

/// `PATCH /api/v1/identities/{agent_handle}`: 200 with the whole identity, changed or not.
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
    let command = IdentityCommand::Update(Box::new(form.update));
    caller.append(found.id, Command::Identity(command)).await?;
    let updated =
        identities::find_by_id(caller.pool(), caller.organization_id(), &caller.eyes(), found.id).await?;
    Ok(json_text(StatusCode::OK, updated.ok_or_else(ApiError::identity_not_found)?.body()))
}

/// `DELETE /api/v1/identities/{agent_handle}`: 204, with everything that belongs to it.
pub(crate) async fn delete_identity(
    caller: Caller,
    Segments(handle): Segments<String>,
) -> Result<Response, ApiError> {
    let found = caller.find(&handle).await?;
    caller.admins_only("Deleting an identity")?;
    caller.append(found.id, Command::Identity(IdentityCommand::Delete)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
