//! Who am I. Contract, section 10.1.

use axum::http::StatusCode;
use axum::response::Response;
use identity_log::recorded::timestamp;
use identity_projections::api_keys::KeyScope;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::api_keys::CreatorType;
use super::json;
use crate::api_key::public_id;
use crate::caller::Holder;
use crate::error::ApiError;

/// The key that asks, and its organization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Whoami<'a> {
    /// Always `api_key`.
    #[schema(example = "api_key")]
    auth_type: &'static str,
    /// `api_key.admin_scoped`, `api_key.agent_scoped.claimed` or `api_key.auditor_scoped`.
    #[schema(example = "api_key.admin_scoped")]
    auth_subtype: &'static str,
    /// The organization.
    organization_id: &'a str,
    /// The id of the key that made this one, or `operator`.
    #[schema(example = "operator")]
    created_by: &'a str,
    /// Who made it.
    creator_type: CreatorType,
    /// The key's id.
    #[schema(example = "ApiKey_67e166e4-7b0c-4a57-9a57-0d7c4d3b1a11")]
    key_id: String,
    /// What it is called.
    #[schema(example = "first")]
    label: &'a str,
    /// What it is for.
    #[schema(required)]
    description: Option<&'a str>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// Not tracked: always null.
    #[schema(required, value_type = Option<OffsetDateTime>)]
    last_used_at: Option<()>,
    /// Keys do not expire: always null.
    #[schema(required, value_type = Option<OffsetDateTime>)]
    expires_at: Option<()>,
    /// Always null.
    #[schema(required, value_type = Option<String>)]
    scope: Option<()>,
    /// The identity it acts as, for an agent's key.
    #[schema(required)]
    scoped_identity_id: Option<Uuid>,
}

// Auditors get a subtype of our own: published clients take the subtype as free text, and the word of another scope would
// mislead a client that decides by it what the key may do.
/// Who asks
///
/// The one path without a version.
#[utoipa::path(get, path = "/api/whoami", tag = "API keys",
    responses((status = 200, description = "The key, and its organization", body = Whoami<'static>)))]
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
        creator_type: CreatorType::Human,
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
