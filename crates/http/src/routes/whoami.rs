//! Who am I. Contract, section 10.1.

use axum::http::StatusCode;
use axum::response::Response;
use identity_log::recorded::timestamp;
use identity_projections::api_keys::KeyScope;
use serde::Serialize;
use uuid::Uuid;

use super::json;
use crate::api_key::public_id;
use crate::caller::Holder;
use crate::error::ApiError;

#[derive(Debug, Serialize)]
struct Whoami<'a> {
    auth_type: &'static str,
    auth_subtype: &'static str,
    organization_id: &'a str,
    created_by: &'a str,
    creator_type: &'static str,
    key_id: String,
    label: &'a str,
    description: Option<&'a str>,
    created_at: String,
    last_used_at: Option<()>,
    expires_at: Option<()>,
    scope: Option<()>,
    scoped_identity_id: Option<Uuid>,
}

/// `GET /api/whoami`, the one path without a version. Auditors get a subtype of our own: published clients take the
/// subtype as free text, and to be told of another scope would mislead whoever decides by it what a key may do.
#[utoipa::path(
    get,
    path = "/api/whoami",
    tag = "API keys",
    summary = "Who asks",
    description = "",
    responses((status = 200, description = "The key, and its organization", body = crate::openapi::schemas::Whoami)),
    extensions(("x-about" = json!({"key": "any", "parameters": [], "errors": []}))),
)]
pub(crate) async fn whoami(holder: Holder) -> Result<Response, ApiError> {
    let key = holder.key();
    let auth_subtype = match key.scope {
        KeyScope::Admin => "api_key.admin_scoped",
        KeyScope::Agent => "api_key.agent_scoped.claimed",
        KeyScope::Auditor => "api_key.auditor_scoped",
    };
    let body = Whoami {
        auth_type: "api_key",
        auth_subtype,
        organization_id: &key.organization_id,
        created_by: &key.created_by,
        creator_type: "human",
        key_id: public_id(key.id),
        label: &key.label,
        description: key.description.as_deref(),
        created_at: timestamp(key.created_at),
        last_used_at: None,
        expires_at: None,
        scope: None,
        scoped_identity_id: key.identity_id,
    };
    json(StatusCode::OK, &body)
}
