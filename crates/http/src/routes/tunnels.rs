//! Tunnels, which are created and destroyed through identities only. Contract, sections 1.4 and 7.1 to 7.3.

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::Command;
use identity_domain::identity::Command as IdentityCommand;
use identity_log::Committed;
use identity_projections::bodies::{FullTunnel, TunnelList};
use identity_projections::identities::{self, Part, Row};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::owned;
use crate::caller::{AppSettings, Caller, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::{unless_current, unless_known};
use crate::error::ApiError;
use crate::fault::Fault;
use crate::form::reader::object;
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::precondition::expected_version;
use crate::revision::Revision;

/// The largest metadata, in bytes of compact JSON.
const LARGEST_METADATA: usize = 4096;

/// List tunnels
///
/// Newest first; an agent sees its own.
#[utoipa::path(get, path = "/api/v1/tunnels", tag = "Tunnels",
    responses((status = 200, description = "The tunnels", body = TunnelList)))]
pub(crate) async fn list_tunnels(
    caller: Caller,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let write = |row| serde_json::to_string(&FullTunnel::of(row)?);
    let form = owned::ListShape { before: "{\"tunnels\":[", behind: "]}", write };
    unless_known(&caller, &headers, async || owned::list(&caller, form).await).await
}

/// Get a tunnel
#[utoipa::path(get, path = "/api/v1/tunnels/{tunnel_id}", tag = "Tunnels",
    responses((status = 200, description = "The tunnel", body = FullTunnel)),
    extensions(("x-errors" = json!([Code::TunnelNotFound]))))]
pub(crate) async fn get_tunnel(
    caller: Caller,
    Segments(id): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let owner = find(&caller, uuid_segment("tunnel_id", &id)?).await?;
    let revision = Revision::from(&owner);
    Ok(unless_current(&headers, revision, serde_json::to_string(&FullTunnel::of(owner)?)?))
}

async fn find(caller: &Caller, id: Uuid) -> Result<Row, ApiError> {
    let part = Part::Tunnel(id);
    let owner =
        identities::owner_of(caller.pool().await, caller.organization_id(), &caller.viewer(), part).await?;
    owner.ok_or_else(ApiError::tunnel_not_found)
}

/// Change the metadata of a tunnel
#[utoipa::path(patch, path = "/api/v1/tunnels/{tunnel_id}", tag = "Tunnels",
    responses((status = 200, description = "The tunnel", body = FullTunnel)),
    extensions(("x-errors" = json!([Code::TunnelNotFound]))))]
pub(crate) async fn update_tunnel(
    caller: Caller,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<Metadata>,
) -> Result<Response, ApiError> {
    let id = uuid_segment("tunnel_id", &id)?;
    let owner = find(&caller, id).await?;
    let metadata = match body.read(caller.settings())? {
        Metadata(Some(Some(()))) => Some(metadata_text(body.bytes())?),
        Metadata(Some(None)) => Some("{}".to_owned()),
        Metadata(None) => None,
    };
    if metadata.as_ref().is_some_and(|text| text.len() > LARGEST_METADATA) {
        let fault = Fault::value("metadata", "Metadata should have at most 4096 bytes as compact JSON");
        return Err(ApiError::invalid(vec![fault]));
    }
    let expected = expected_version(&headers, &owner)?;
    let metadata = metadata.unwrap_or(owner.tunnel_metadata);
    let command = IdentityCommand::ReplaceTunnelMetadata { metadata };
    let owner_id = owner.document.id;
    let body = |owner, _: &Committed| Ok(FullTunnel::of(owner)?);
    let reply = owned::PartReply { status: StatusCode::OK, body };
    caller.write(owner_id, Command::Identity(command), expected, reply).await
}

/// Body of `PATCH /tunnels/{id}`: whether there is metadata, and whether it is an object. Its text is taken from the
/// body as the client wrote it.
#[derive(Debug)]
#[expect(clippy::option_option, reason = "absent, null and an object are three things")]
pub(crate) struct Metadata(Option<Option<()>>);

impl ReadForm for Metadata {
    const NAME: &'static str = "UpdateTunnel";
    const EXAMPLE: &'static str = r#"{ "metadata": { "region": "eu" } }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        form.forbid_others(&["metadata"], "Extra inputs are not permitted");
        let about = "Any object of at most 4096 bytes as compact JSON, and without NUL; null empties it";
        Some(Self(form.nullable("metadata", about, object())))
    }
}

/// The member `metadata` as the client wrote it, without the white space between tokens. So the order of members and
/// the digits of numbers are kept.
fn metadata_text(body: &[u8]) -> Result<String, ApiError> {
    let fields: HashMap<String, &RawValue> = serde_json::from_slice(body)?;
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
