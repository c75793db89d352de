//! The middleware for writes with an `Idempotency-Key`: it answers repetitions.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity_log::idempotency::Record;
use sha2::{Digest, Sha256};

use super::{Idempotency, ScopedKey};
use crate::body::Body;
use crate::caller::{App, Caller};
use crate::error::ApiError;
use crate::fault::Fault;
use crate::headers::{self, IDEMPOTENCY_KEY};
use crate::reply::Answer;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key, in characters.
const LONGEST_KEY: usize = 255;

/// Answers a write that was carried out before from its record, and passes any other request on, with its key among the
/// extensions.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_write = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    if !is_write || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    once(&app, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn once(app: &App, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = <Caller as FromRequestParts<App>>::from_request_parts(&mut parts, app).await?;
    let key = key_of(&parts)?;
    let mut unread = Request::new(body);
    unread.extensions_mut().insert(caller.admission().clone());
    let Body(body) = Body::from_request(unread, &()).await?;
    let fingerprint = fingerprint(&parts, &body, &caller);
    let scoped = ScopedKey {
        organization_id: caller.organization_id().to_owned(),
        scope: caller.actor().idempotency_scope(),
        key: key.clone(),
    };
    // Before the record is looked up: a request with the same key that ends in between is found in flight, or its record
    // is found.
    let flight = app.in_flight().begin(scoped.clone()).ok_or_else(ApiError::idempotency_in_progress)?;
    let is_reused = match scoped.find(caller.pool().await, &fingerprint).await? {
        Some(record) if record.fingerprint == fingerprint => return replay(app, record),
        record => record.is_some(),
    };
    parts.extensions.insert(Idempotency { key, fingerprint, is_reused, _flight: Arc::new(flight) });
    let response = next.run(Request::from_parts(parts, HttpBody::from(body))).await;
    if is_reused && response.status().is_success() {
        // The request writes nothing, so nothing has refused its key.
        return Err(ApiError::idempotency_key_reused());
    }
    if !may_follow_from_the_same_request(response.status()) {
        return Ok(response);
    }
    // Another process may have carried out the same request since the record was looked up. Then this request was refused because
    // of what that process has changed.
    match scoped.find(caller.pool().await, &fingerprint).await? {
        Some(record) if record.fingerprint == fingerprint => replay(app, record),
        _ if !ApiError::is_repetition(&response) => Ok(response),
        Some(_) => Err(ApiError::idempotency_key_reused()),
        None => Err(ApiError::idempotency_in_progress()),
    }
}

/// Whether a request can be refused with this status because it was carried out already.
fn may_follow_from_the_same_request(status: StatusCode) -> bool {
    [StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::GONE, StatusCode::PRECONDITION_FAILED]
        .contains(&status)
}

/// The key of a request: 1 to 255 visible ASCII characters, the same in every line of the header.
fn key_of(parts: &Parts) -> Result<String, ApiError> {
    let key = headers::only(&parts.headers, &IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok());
    let sane = key.filter(|key| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    sane.map(str::to_owned).ok_or_else(|| {
        ApiError::invalid(vec![Fault::malformed_header(
            "idempotency-key",
            "Should be 1 to 255 visible ASCII characters",
        )])
    })
}

/// The digest of a request. It covers method, path with query, body and, for an agent, the identity: no agent gets the
/// stored answer of another agent or of an admin.
fn fingerprint(parts: &Parts, body: &[u8], caller: &Caller) -> [u8; 32] {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    Sha256::new()
        .chain_update(parts.method.as_str())
        .chain_update([0])
        .chain_update(path)
        .chain_update([0])
        .chain_update(body)
        .chain_update(caller.viewer().agent_id().map_or_else(String::new, |viewer| format!("\0{viewer}")))
        .finalize()
        .into()
}

/// Answers with what the record keeps. While another process is still carrying out the write, the record has no answer yet, and the
/// client is told to try again.
fn replay(app: &App, record: Record) -> Result<Response, ApiError> {
    if record.is_begun() {
        return Err(ApiError::idempotency_in_progress());
    }
    app.must_be_confirmed()?;
    let status = u16::try_from(record.status).unwrap_or(200);
    let mut response = Answer::kept(status, record.body, record.entity_tag).into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
