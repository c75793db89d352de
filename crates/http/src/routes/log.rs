//! What proves an organization's history: checkpoints, the key that opens them, and proofs between them.
//!
//! Every answer is about what was signed, never about what is merely there.

use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use identity_log::proof::{self, Signed};
use identity_proof::tree::Question;
use identity_proof::{Hash, checkpoint};
use serde_json::json;

use super::json;
use crate::caller::{Caller, Historian, Segments};
use crate::error::ApiError;
use crate::form::Fault;
use crate::parameters::whole;

/// `GET /log/checkpoint`: the last signed note; 404 before the first, 503 while the log is not the one that was signed.
#[utoipa::path(
    get,
    path = "/api/v1/log/checkpoint",
    tag = "History",
    summary = "Get the last signed checkpoint",
    description = "A C2SP signed note.",
    responses((status = 200, description = "The note", body = String, content_type = "text/plain; charset=utf-8")),
    extensions(("x-about" = json!({"key": "historian", "parameters": [], "errors": ["not_signed", "log_refused"]}))),
)]
pub(crate) async fn get_checkpoint(Historian(caller): Historian) -> Result<Response, ApiError> {
    Ok(text(signed(&caller).await?.note))
}

/// `GET /log/key`: the verifier key that opens the notes of this organization's present epoch.
#[utoipa::path(
    get,
    path = "/api/v1/log/key",
    tag = "History",
    summary = "Get the key that opens checkpoints",
    description = "A C2SP verifier key.",
    responses((status = 200, description = "The key", body = String, content_type = "text/plain; charset=utf-8")),
    extensions(("x-about" = json!({"key": "historian", "parameters": [], "errors": []}))),
)]
pub(crate) async fn get_verifier_key(Historian(caller): Historian) -> Result<Response, ApiError> {
    let last = proof::last(caller.pool(), caller.organization_id()).await?;
    let origin = checkpoint::origin(caller.organization_id(), last.map_or(1, |signed| signed.epoch));
    Ok(text(format!("{}\n", caller.signer().key().verifier_key(&origin))))
}

/// `GET /log/inclusion/{organization_sequence}?size=`: that an event is among the first `size`, by default all signed.
#[utoipa::path(
    get,
    path = "/api/v1/log/inclusion/{organization_sequence}",
    tag = "History",
    summary = "Prove that an event is in the log",
    description = "",
    responses((status = 200, description = "The proof", body = crate::openapi::schemas::InclusionProof)),
    extensions(("x-about" = json!({"key": "historian", "parameters": ["size"], "errors": ["not_signed", "log_refused"]}))),
)]
pub(crate) async fn prove_inclusion(
    Historian(caller): Historian,
    Segments(sequence): Segments<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let sequence = number("path", "organization_sequence", Some(&sequence))?;
    let asked = optional(query.as_deref(), "size")?;
    let signed = signed(&caller).await?;
    let size = asked.unwrap_or(signed.checkpoint.size);
    if sequence > size || size > signed.checkpoint.size {
        return Err(ApiError::not_signed());
    }
    let index = sequence - 1;
    let mut connection = caller.pool().acquire().await?;
    let organization_id = caller.organization_id();
    let leaf = proof::leaf(&mut connection, organization_id, signed.epoch, index).await?;
    let mut answers = Vec::with_capacity(2);
    for question in [Question::Root { size }, Question::Inclusion { index, size }] {
        answers.push(proof::answer(&mut connection, organization_id, signed.epoch, question).await?);
    }
    let [root, hashes] = answers.as_slice() else { return Err(ApiError::not_signed()) };
    json(
        StatusCode::OK,
        &json!({
            "organization_sequence": sequence,
            "leaf_index": index,
            "leaf_hash": leaf.to_string(),
            "size": size,
            "root_hash": root.first().map(Hash::to_string),
            "hashes": in_base64(hashes),
        }),
    )
}

/// `GET /log/consistency?from=&to=`: that the first `to` events, by default all signed, begin with the first `from`.
#[utoipa::path(
    get,
    path = "/api/v1/log/consistency",
    tag = "History",
    summary = "Prove that the log only grew",
    description = "",
    responses((status = 200, description = "The proof", body = crate::openapi::schemas::ConsistencyProof)),
    extensions(("x-about" = json!({"key": "historian", "parameters": ["from", "to"], "errors": ["not_signed", "log_refused"]}))),
)]
pub(crate) async fn prove_consistency(
    Historian(caller): Historian,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let from = number("query", "from", parameter(query.as_deref(), "from"))?;
    let asked = optional(query.as_deref(), "to")?;
    let signed = signed(&caller).await?;
    let to = asked.unwrap_or(signed.checkpoint.size);
    if from > to || to > signed.checkpoint.size {
        return Err(ApiError::not_signed());
    }
    let mut connection = caller.pool().acquire().await?;
    let question = Question::Consistency { from, to };
    let hashes = proof::answer(&mut connection, caller.organization_id(), signed.epoch, question).await?;
    json(StatusCode::OK, &json!({ "from": from, "to": to, "hashes": in_base64(&hashes) }))
}

async fn signed(caller: &Caller) -> Result<Signed, ApiError> {
    caller.signer().last(caller.organization_id()).await?.ok_or_else(ApiError::not_signed)
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

fn in_base64(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

fn optional(query: Option<&str>, name: &str) -> Result<Option<u64>, ApiError> {
    parameter(query, name).map(|value| number("query", name, Some(value))).transpose()
}

/// Numbers need no decoding, so the query is read as it came.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next_back()
}

/// Events are numbered from 1, and a size of 0 proves nothing.
fn number(place: &str, name: &str, text: Option<&str>) -> Result<u64, ApiError> {
    let number = text.and_then(|text| whole(text).parse::<u64>().ok());
    let in_range = number.filter(|number| *number > 0 && i64::try_from(*number).is_ok());
    in_range.ok_or_else(|| ApiError::invalid(vec![Fault::number(place, name, text)]))
}
