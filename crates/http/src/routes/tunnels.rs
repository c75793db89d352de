//! Tunnels, which are created and destroyed through identities only. Contract, sections 1.4 and 7.1 to 7.3.

use std::collections::HashMap;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::Command as IdentityCommand;
use identity_log::Committed;
use identity_projections::document::Tunnel;
use identity_projections::identities::{self, Part, Row};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json;
use crate::caller::{Caller, Segments, uuid_segment};
use crate::conditional::{Revision, expected_version, unless_current, unless_known};
use crate::error::ApiError;
use crate::form::{Body, Form, object};
use crate::reply::{Answer, Reply, Source, Subject};

/// The largest metadata, in bytes of compact JSON.
const LARGEST_METADATA: usize = 4096;

/// A tunnel in full. What only a connected tunnel has is null: nothing connects to this control plane.
#[derive(Debug, Serialize)]
struct FullTunnel {
    #[serde(flatten)]
    summary: Tunnel,
    organization_id: String,
    cert_pem: Option<()>,
    cert_fingerprint_sha256: Option<()>,
    cert_expires_at: Option<()>,
    last_connected_at: Option<()>,
    last_connected_ip_addr: Option<()>,
    last_disconnected_at: Option<()>,
    currently_connected: bool,
    metadata: Box<RawValue>,
}

impl FullTunnel {
    fn of(owner: Row) -> Result<Self, ApiError> {
        Ok(Self {
            summary: owner.document.tunnel,
            organization_id: owner.document.organization_id,
            cert_pem: None,
            cert_fingerprint_sha256: None,
            cert_expires_at: None,
            last_connected_at: None,
            last_connected_ip_addr: None,
            last_disconnected_at: None,
            currently_connected: false,
            metadata: RawValue::from_string(owner.tunnel_metadata)?,
        })
    }
}

#[derive(Debug, Serialize)]
struct TunnelList {
    tunnels: Vec<FullTunnel>,
}

/// `GET /tunnels`: every live tunnel, in an envelope (D14).
#[utoipa::path(
    get,
    path = "/api/v1/tunnels",
    tag = "Tunnels",
    summary = "List tunnels",
    description = "Newest first; an agent sees its own.",
    responses((status = 200, description = "The tunnels", body = crate::openapi::schemas::TunnelList)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-None-Match"], "errors": []}))),
)]
pub(crate) async fn list_tunnels(caller: Caller, headers: HeaderMap) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || {
        let owners = identities::owners(caller.pool(), caller.organization_id(), &caller.viewer()).await?;
        let tunnels = owners.into_iter().map(FullTunnel::of).collect::<Result<_, _>>()?;
        json(StatusCode::OK, &TunnelList { tunnels })
    })
    .await
}

/// `GET /tunnels/{id}`.
#[utoipa::path(
    get,
    path = "/api/v1/tunnels/{tunnel_id}",
    tag = "Tunnels",
    summary = "Get a tunnel",
    description = "",
    responses((status = 200, description = "The tunnel", body = crate::openapi::schemas::Tunnel)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-None-Match"], "errors": ["tunnel_not_found"]}))),
)]
pub(crate) async fn get_tunnel(
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let owner = find(&caller, uuid_segment("tunnel_id", &id)?).await?;
    let revision = Revision::from(&owner);
    Ok(unless_current(&headers, revision, serde_json::to_string(&FullTunnel::of(owner)?)?))
}

async fn find(caller: &Caller, id: Uuid) -> Result<Row, ApiError> {
    let part = Part::Tunnel(id);
    let owner = identities::owner_of(caller.pool(), caller.organization_id(), &caller.viewer(), part).await?;
    owner.ok_or_else(ApiError::tunnel_not_found)
}

/// `PATCH /tunnels/{id}`: 200 with the tunnel. Nothing but its metadata can be changed.
#[utoipa::path(
    patch,
    path = "/api/v1/tunnels/{tunnel_id}",
    tag = "Tunnels",
    summary = "Change the metadata of a tunnel",
    description = "",
    responses((status = 200, description = "The tunnel", body = crate::openapi::schemas::Tunnel)),
    extensions(("x-about" = json!({"key": "caller", "parameters": ["If-Match"], "errors": ["tunnel_not_found"], "body": "UpdateTunnel"}))),
)]
pub(crate) async fn update_tunnel(
    caller: Caller,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let id = uuid_segment("tunnel_id", &id)?;
    let owner = find(&caller, id).await?;
    let mut form = Form::parse(&body)?;
    form.forbid_others(&["metadata"], "Extra inputs are not permitted");
    let given = form.nullable("metadata", object);
    let metadata = match given {
        Some(Some(())) => Some(metadata_text(&body)?),
        Some(None) => Some("{}".to_owned()),
        None => None,
    };
    if metadata.as_ref().is_some_and(|text| text.len() > LARGEST_METADATA) {
        form.refuse("metadata", "Metadata should have at most 4096 bytes as compact JSON");
    }
    form.finish(Some(()))?;
    let expected = expected_version(&headers, &owner)?;
    let metadata = metadata.unwrap_or(owner.tunnel_metadata);
    let command = IdentityCommand::ReplaceTunnelMetadata { metadata };
    let reply = Changed { owner: caller.subject(owner.document.id) };
    caller.write(owner.document.id, Command::Identity(command), expected, reply).await
}

/// Answers with the tunnel.
struct Changed {
    owner: Subject,
}

#[async_trait]
impl Reply for Changed {
    async fn compose(&self, source: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let owner = self.owner.row(source, committed).await?;
        Answer::json(StatusCode::OK, &FullTunnel::of(owner)?)
    }
}

/// The member `metadata` as the client wrote it, less the white space between its tokens, so that it reads back with
/// the order of members and the digits of numbers that went in.
fn metadata_text(body: &Body) -> Result<String, ApiError> {
    let fields: HashMap<String, &RawValue> = serde_json::from_slice(&body.0)?;
    Ok(fields.get("metadata").map_or_else(|| "{}".to_owned(), |raw| compact(raw.get())))
}

fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if in_string || !character.is_ascii_whitespace() {
            text.push(character);
        }
        in_string ^= character == '"' && !escaped;
        escaped = in_string && character == '\\' && !escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn only_white_space_between_tokens_goes() {
        let json = "{ \"a b\" : [ 1.0 , 1e2,\n\"x \\\" y\" , \"\\\\\" ] , \"z\":{ } }";
        assert_eq!(compact(json), "{\"a b\":[1.0,1e2,\"x \\\" y\",\"\\\\\"],\"z\":{}}");
    }
}
