//! `whoami`: the key that the client has. Contract, section 10.1.

use axum::http::StatusCode;
use axum::response::Response;
use identity_log::recorded::timestamp;
use identity_projections::api_keys::KeyScope;
use identity_projections::bodies::{CreatorType, Whoami};

use super::json;
use crate::api_key::public_id;
use crate::caller::Holder;
use crate::error::ApiError;

// `auth_subtype` of auditor keys is not one of the hosted API. Published clients take it as free text, and with the
// subtype of another scope a client would expect rights that the key does not have.
/// Get the caller
///
/// This is the only path without a version.
#[utoipa::path(get, path = "/api/whoami", tag = "API keys",
    responses((status = 200, description = "The key, and its organization", body = Whoami<'static>)))]
pub(crate) async fn whoami(holder: Holder) -> Result<Response, ApiError> {
    let key = holder.key();
    let auth_subtype = match key.scope {
        KeyScope::Admin => "api_key.admin_scoped",
        KeyScope::Agent => "api_key.agent_scoped.claimed",
        KeyScope::Auditor => "api_key.auditor_scoped",
    };
    let scope = match key.identity_id {
        Some(identity) => format!("agent_identity:{identity}"),
        None => format!("organization:{}", key.organization_id),
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
        last_used_at: holder.last_used_at().await?.map(timestamp),
        expires_at: key.expires_at.map(timestamp),
        scope,
        scoped_identity_id: key.identity_id,
    };
    json(StatusCode::OK, &body)
}
