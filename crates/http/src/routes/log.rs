//! The proofs of an organization's history: checkpoints, the key that verifies them, and proofs of inclusion and
//! consistency.
//!
//! Every answer is about events that a signed checkpoint covers, never about others.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use identity_log::proof::{self, Signed, cosignatures};
use identity_proof::{Hash, checkpoint};
use serde::Serialize;
use utoipa::ToSchema;

use super::json;
use crate::caller::{Caller, Historian, Segments};
use crate::code::Code;
use crate::error::ApiError;
use crate::fault::Fault;
use crate::parameters::{self, Parameters, Query, ReadQuery, sequence};

/// Get the last signed checkpoint
///
/// A C2SP signed note. It says when it was signed, and has the cosignatures of the witnesses that have cosigned it.
#[utoipa::path(get, path = "/api/v1/log/checkpoint", tag = "History",
    responses((status = 200, description = "The note", body = String, content_type = "text/plain; charset=utf-8")),
    extensions(("x-errors" = json!([Code::NotSigned, Code::LogRefused]))))]
pub(crate) async fn get_checkpoint(
    Historian(caller): Historian,
    query: Query<CheckpointQuery>,
) -> Result<Response, ApiError> {
    let CheckpointQuery { witness } = query.read()?;
    let last = signed(&caller).await?;
    let Some(witness) = witness else { return Ok(text(last.note)) };
    let (pool, organization_id) = (caller.pool().await, caller.organization_id());
    let cosigned = cosignatures::last_of(pool, organization_id, last.epoch, &witness).await?;
    Ok(text(cosigned.ok_or_else(ApiError::not_signed)?.note))
}

/// Get the key that verifies checkpoints
///
/// A C2SP verifier key.
#[utoipa::path(get, path = "/api/v1/log/key", tag = "History",
    responses((status = 200, description = "The key", body = String, content_type = "text/plain; charset=utf-8")))]
pub(crate) async fn get_verifier_key(Historian(caller): Historian) -> Result<Response, ApiError> {
    let epoch = proof::last_epoch(caller.pool().await, caller.organization_id()).await?;
    let origin = checkpoint::origin(caller.organization_id(), epoch.unwrap_or(1));
    Ok(text(format!("{}\n", caller.signer().await.key().verifier_key(&origin))))
}

/// Prove that an event is in the log
#[utoipa::path(get, path = "/api/v1/log/inclusion/{organization_sequence}", tag = "History",
    responses((status = 200, description = "The proof", body = InclusionProof)),
    extensions(("x-errors" = json!([Code::NotSigned, Code::LogRefused]))))]
pub(crate) async fn prove_inclusion(
    Historian(caller): Historian,
    Segments(text): Segments<String>,
    query: Query<InclusionQuery>,
) -> Result<Response, ApiError> {
    let sequence = place(&text)?;
    let InclusionQuery { size: asked } = query.read()?;
    let signed = signed(&caller).await?;
    let size = asked.unwrap_or(signed.checkpoint.size);
    if sequence > size || size > signed.checkpoint.size {
        return Err(ApiError::not_signed());
    }
    let index = sequence - 1;
    let mut connection = caller.pool().await.acquire().await?;
    let organization_id = caller.organization_id();
    let proved = proof::prove_inclusion(&mut connection, organization_id, &signed, index, size).await?;
    let proof = InclusionProof {
        organization_sequence: sequence,
        leaf_index: index,
        leaf_hash: proved.leaf.to_string(),
        size,
        root_hash: proved.root.to_string(),
        hashes: in_base64(&proved.hashes),
    };
    json(StatusCode::OK, &proof)
}

/// Proves that an event is among the first `size` of its organization (RFC 6962, section 2.1.1).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InclusionProof {
    /// The event's place.
    organization_sequence: u64,
    /// Its place counted from 0.
    leaf_index: u64,
    /// SHA-256 in base64.
    #[schema(example = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")]
    leaf_hash: String,
    /// How many events the tree has.
    size: u64,
    /// SHA-256 in base64.
    #[schema(example = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")]
    root_hash: String,
    /// SHA-256 in base64, from leaf to root.
    hashes: Vec<String>,
}

/// Prove that the log only grew
#[utoipa::path(get, path = "/api/v1/log/consistency", tag = "History",
    responses((status = 200, description = "The proof", body = ConsistencyProof)),
    extensions(("x-errors" = json!([Code::NotSigned, Code::LogRefused]))))]
pub(crate) async fn prove_consistency(
    Historian(caller): Historian,
    query: Query<ConsistencyQuery>,
) -> Result<Response, ApiError> {
    let ConsistencyQuery { from, to: asked } = query.read()?;
    // If `from` is missing, `read` has refused the request already.
    let from = from.ok_or_else(ApiError::not_signed)?;
    let signed = signed(&caller).await?;
    let to = asked.unwrap_or(signed.checkpoint.size);
    if from > to || to > signed.checkpoint.size {
        return Err(ApiError::not_signed());
    }
    let mut connection = caller.pool().await.acquire().await?;
    let organization_id = caller.organization_id();
    let hashes = proof::prove_consistency(&mut connection, organization_id, &signed, from, to).await?;
    json(StatusCode::OK, &ConsistencyProof { from, to, hashes: in_base64(&hashes) })
}

/// Proves that the first `to` events begin with the first `from` (RFC 6962, section 2.1.2).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsistencyProof {
    /// The size of the older tree.
    from: u64,
    /// The size of the newer tree.
    to: u64,
    /// SHA-256 in base64.
    hashes: Vec<String>,
}

async fn signed(caller: &Caller) -> Result<Signed, ApiError> {
    caller.signer().await.last(caller.organization_id()).await?.ok_or_else(ApiError::not_signed)
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

fn in_base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

/// The parameters of a checkpoint.
#[derive(Debug)]
pub(crate) struct CheckpointQuery {
    witness: Option<String>,
}

impl ReadQuery for CheckpointQuery {
    fn read(parameters: &mut Parameters) -> Self {
        parameters.keep(&["witness"]);
        let about =
            "The name of a witness: the last checkpoint that it has cosigned, instead of the last one";
        Self { witness: parameters.one("witness", about, parameters::text()) }
    }
}

/// The parameters of an inclusion proof.
#[derive(Debug)]
pub(crate) struct InclusionQuery {
    size: Option<u64>,
}

impl ReadQuery for InclusionQuery {
    fn read(parameters: &mut Parameters) -> Self {
        parameters.keep(&["size"]);
        Self {
            size: parameters.number("size", "The size of the tree; the last checkpoint's if absent", false),
        }
    }
}

/// The parameters of a consistency proof.
#[derive(Debug)]
pub(crate) struct ConsistencyQuery {
    from: Option<u64>,
    to: Option<u64>,
}

impl ReadQuery for ConsistencyQuery {
    fn read(parameters: &mut Parameters) -> Self {
        parameters.keep(&["from", "to"]);
        let from = parameters.number("from", "The size of the older tree", true);
        let about = "The size of the newer tree; the last checkpoint's if absent";
        Self { from, to: parameters.number("to", about, false) }
    }
}

/// Reads the sequence of an event, which is a segment of the path.
fn place(text: &str) -> Result<u64, ApiError> {
    let fault = || Fault::number("path", "organization_sequence", Some(text));
    sequence(text).ok_or_else(|| ApiError::invalid(vec![fault()]))
}
