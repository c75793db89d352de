//! Conditional reads: a client that has the present body already gets 304 without a body. RFC 9110, section 13.1.2.

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use identity_log::read;
use sqlx::PgPool;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::found::Found;
use crate::revision::{Digest, Revision, Tags, tagged};
use crate::routes::json_text;

/// Answers with JSON text that shows this revision, or with 304 if the client has it already.
pub(crate) fn unless_current(headers: &HeaderMap, shown: impl Into<Revision>, body: String) -> Response {
    let tag = shown.into().tag_of(Digest::of([body.as_bytes()]));
    unless_tagged_so(headers, &tag, || body)
}

/// Answers with an identity, or with 304 if the client has it already.
pub(crate) fn unless_found_before(headers: &HeaderMap, found: &Found) -> Response {
    unless_tagged_so(headers, &found.tag(), || found.body())
}

/// Answers with the JSON text that has this tag, or with 304 if the client names the tag.
fn unless_tagged_so(headers: &HeaderMap, tag: &str, body: impl FnOnce() -> String) -> Response {
    if is_known(headers, tag) { not_modified(tag) } else { tagged(json_text(StatusCode::OK, body()), tag) }
}

/// Answers with a list, or with 304 if the client has it already.
pub(crate) async fn unless_known(
    caller: &Caller,
    headers: &HeaderMap,
    list: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    if caller.is_admin() {
        admins_list(caller, headers, list).await
    } else {
        unless_same(headers, list().await?).await
    }
}

/// A list for an admin. Its tag names the last event of the organization's history. The list is read after the tag. If there are
/// newer events by then, or the list is read while it is sent, its bytes may be of a later state, and the tag is weak.
async fn admins_list(
    caller: &Caller,
    headers: &HeaderMap,
    list: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    let tag = history_tag(caller.pool().await, caller.organization_id()).await?;
    if is_known(headers, &tag) {
        return Ok(not_modified(&tag));
    }
    let list = list().await?;
    let is_exact =
        is_complete(list.body()) && history_tag(caller.pool().await, caller.organization_id()).await? == tag;
    Ok(tagged(list, &if is_exact { tag } else { format!("W/{tag}") }))
}

/// Answers with a list, or with 304 if the client has the same bytes already: the tag is a digest of them. This is for
/// agents, who must not learn from a changed tag of events that they may not see, and for lists that change without an
/// event. A list that is read while it is sent has no tag.
pub(crate) async fn unless_same(headers: &HeaderMap, list: Response) -> Result<Response, ApiError> {
    if !is_complete(list.body()) {
        return Ok(list);
    }
    let (parts, body) = list.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| ApiError::internal(error.to_string()))?;
    let tag = format!("\"{}\"", Digest::of([&*body]));
    if is_known(headers, &tag) {
        return Ok(not_modified(&tag));
    }
    Ok(tagged(Response::from_parts(parts, Body::from(body)), &tag))
}

/// The same for a list of entries that never change. If it is read while it is sent, it has a weak tag, which is a digest of what
/// `entries` says of them.
pub(crate) async fn unless_same_entries(
    headers: &HeaderMap,
    entries: &[u8],
    list: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    let tag = format!("\"{}\"", Digest::of([env!("CARGO_PKG_VERSION").as_bytes(), entries]));
    let weak = format!("W/{tag}");
    if is_known(headers, &tag) {
        return Ok(not_modified(&weak));
    }
    let list = list().await?;
    if is_complete(list.body()) { unless_same(headers, list).await } else { Ok(tagged(list, &weak)) }
}

/// Whether the whole body is in memory.
fn is_complete(body: &Body) -> bool {
    body.size_hint().exact().is_some()
}

/// The tag of the history of an organization. It also depends on the generation and on the version of this software, since
/// a rebuilt read model or another version may show the same history differently.
async fn history_tag(pool: &PgPool, organization_id: &str) -> Result<String, ApiError> {
    let (generation, sequence, leaf) = read::shown_history(pool, organization_id).await?;
    let software = env!("CARGO_PKG_VERSION").as_bytes();
    let (generation, sequence) = (generation.to_be_bytes(), sequence.to_be_bytes());
    let digest = Digest::of([software, organization_id.as_bytes(), &generation, &sequence, &leaf]);
    Ok(format!("\"{digest}\""))
}

fn not_modified(tag: &str) -> Response {
    tagged(StatusCode::NOT_MODIFIED.into_response(), tag)
}

/// Whether `If-None-Match` names this tag, so that 304 is the answer. The weak form counts, too (RFC 9110, section 13.1.2).
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    match Tags::read(headers, &header::IF_NONE_MATCH) {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(known)) => {
            known.into_iter().any(|known| known.strip_prefix("W/").unwrap_or(known) == tag)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    use super::is_known;

    fn lines(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_reader_may_know_any_of_a_list_weak_ones_included() {
        let knows = |values: &[&'static str]| is_known(&lines(&header::IF_NONE_MATCH, values), "\"7\"");
        for known in [
            &["\"7\""][..],
            &["W/\"7\""],
            &["*"],
            &["\"6\", W/\"7\""],
            &["\"6\"", "\"7\""],
            &["\"6\"", "W/\"7\""],
        ] {
            assert!(knows(known), "{known:?}");
        }
        for unknown in [
            &["\"6\""][..],
            &["7"],
            &["W/W/\"7\""],
            &["w/\"7\""],
            &["\"6\"", "*"],
            &["\"a,*,b\""],
            &[""],
            &[],
        ] {
            assert!(!knows(unknown), "{unknown:?}");
        }
    }
}
