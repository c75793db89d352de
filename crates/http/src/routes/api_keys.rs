//! Keys. Contract, section 9, and D12.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use identity_domain::Command;
use identity_domain::api_key::{Command as KeyCommand, Issue, Scope};
use identity_log::ids;
use identity_log::recorded::timestamp;
use identity_projections::api_keys::{self, Row};
use serde::Serialize;
use uuid::Uuid;

use super::json;
use crate::api_key::{Secret, parse_public_id, public_id};
use crate::caller::{Admin, Caller, Segments};
use crate::error::ApiError;
use crate::form::{Body, Form, filled_text, text, uuid};

/// A key as clients see it: everything but its secret.
#[derive(Debug, Serialize)]
pub(crate) struct KeyRecord<'a> {
    id: String,
    organization_id: &'a str,
    created_by: &'a str,
    creator_type: &'static str,
    scoped_identity_id: Option<Uuid>,
    label: &'a str,
    description: Option<&'a str>,
    status: &'static str,
    last4: &'a str,
    display_prefix: String,
    last_used_at: Option<()>,
    expires_at: Option<()>,
    revoked_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl<'a> KeyRecord<'a> {
    /// A key whose identity is gone is as revoked as one that was ended by itself; when that was, its identity's
    /// history says.
    fn of(row: &'a Row, orphaned: bool) -> Self {
        let id = public_id(row.id);
        Self {
            display_prefix: id.chars().take("ApiKey_".len() + 8).collect(),
            id,
            organization_id: &row.organization_id,
            created_by: &row.created_by,
            creator_type: "human",
            scoped_identity_id: row.identity_id,
            label: &row.label,
            description: row.description.as_deref(),
            status: if orphaned || row.revoked_at.is_some() { "revoked" } else { "active" },
            last4: &row.last4,
            last_used_at: None,
            expires_at: None,
            revoked_at: row.revoked_at.map(timestamp),
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.revoked_at.unwrap_or(row.created_at)),
        }
    }
}

#[derive(Debug, Serialize)]
struct CreatedKey<'a> {
    api_key: String,
    record: KeyRecord<'a>,
}

/// `POST /api-keys`: 201 with the key's text, which is never shown again.
pub(crate) async fn create_api_key(Admin(caller): Admin, body: Body) -> Result<Response, ApiError> {
    let mut form = Form::parse(&body)?;
    let label = form.required("label", filled_text(255));
    let description = form.lenient("description", text(1000));
    let identity_id = form.lenient("scoped_identity_id", uuid);
    let label = form.finish(label)?;
    let Some(identity_id) = identity_id else {
        return Err(ApiError::forbidden("An API key may only issue keys that are scoped to an identity"));
    };
    let secret = Secret::generate().map_err(|error| ApiError::internal(error.to_string()))?;
    let issue = Issue {
        label,
        description,
        scope: Scope::Agent { identity_id },
        secret_sha256: secret.sha256(),
        last4: secret.last4(),
        created_by: caller.actor().id(),
    };
    let id = ids::mint_random();
    caller.append(id, Command::ApiKey(KeyCommand::Issue(Box::new(issue)))).await?;
    let row = api_keys::find_active(caller.pool(), id).await?.ok_or_else(ApiError::identity_not_found)?;
    json(
        StatusCode::CREATED,
        &CreatedKey { api_key: secret.key_text(id), record: KeyRecord::of(&row, false) },
    )
}

/// `GET /api-keys`: every key of the organization, ended ones included, newest first.
pub(crate) async fn list_api_keys(Admin(caller): Admin) -> Result<Response, ApiError> {
    let keys = api_keys::list(caller.pool(), caller.organization_id()).await?;
    json(
        StatusCode::OK,
        &keys.iter().map(|key| KeyRecord::of(&key.row, key.is_orphaned())).collect::<Vec<_>>(),
    )
}

/// `GET /api-keys/self`: the key that asks.
pub(crate) async fn get_own_api_key(caller: Caller) -> Result<Response, ApiError> {
    json(StatusCode::OK, &KeyRecord::of(&caller.key, false))
}

/// `DELETE /api-keys/{id}`: 204; ended at once, and again if it was ended before.
pub(crate) async fn revoke_api_key(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = parse_public_id(&id).ok_or_else(ApiError::api_key_not_found)?;
    caller.append(id, Command::ApiKey(KeyCommand::Revoke)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
