//! Conditional requests: entity tags, and the conditions that name them. RFC 9110, sections 8.8.3 and 13.1.
//!
//! The tag of an identity is `"<version>-<end of the id>-<moment>-<digest>"`. A strong tag must stand for one sequence of
//! bytes, whoever asks, so it ends with a digest of the body. The rest names the revision, which a write compares. The
//! moment of the version differs even if a restored backup reaches the same version with other events.

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use identity_log::{Committed, read};
use identity_projections::identities::{IdentityBody, Row};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::headers::elements;
use crate::routes::json_text;

/// How many bytes of a digest a tag contains.
const DIGEST_BYTES: usize = 8;

/// How many hexadecimal digits of an id a tag contains: the last ones, since they are random.
const ID_DIGITS: usize = 8;

/// A version of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revision {
    /// The aggregate.
    pub(crate) id: Uuid,
    /// Its version.
    pub(crate) version: i64,
    /// When it got this version, if that is known.
    pub(crate) changed_at: Option<OffsetDateTime>,
}

impl Revision {
    /// The revision that a write has made.
    pub(crate) fn made(id: Uuid, committed: &Committed) -> Self {
        let changed_at = committed.events.last().map(|event| event.recorded_at);
        Self { id, version: committed.version, changed_at }
    }

    /// The tag of the revision, without a digest.
    pub(crate) fn tag(self) -> String {
        format!("\"{}\"", self.opaque())
    }

    /// The strong tag of a body that shows the revision.
    pub(crate) fn tag_of(self, body: &str) -> String {
        format!("\"{}-{}\"", self.opaque(), digest([body.as_bytes()]))
    }

    fn opaque(self) -> String {
        let moment = self.moment().map(|moment| format!("-{moment}"));
        format!("{}-{}{}", self.version, self.end_of_id(), moment.unwrap_or_default())
    }

    /// The moment of the version in microseconds, in hexadecimal.
    fn moment(self) -> Option<String> {
        self.changed_at.map(|moment| format!("{:x}", moment.unix_timestamp_nanos() / 1_000))
    }

    fn end_of_id(self) -> String {
        let id = self.id.simple().to_string();
        id.chars().skip(id.len().saturating_sub(ID_DIGITS)).collect()
    }

    /// Whether a tag names this revision.
    ///
    /// - The digest is not compared: the access rows in a body may change without a write to the identity.
    /// - The weak form counts, too, since a proxy that compresses makes tags weak.
    /// - A tag may be shorter, as older versions made it: id and moment are compared if it has them.
    fn is_named_by(self, tag: &str) -> bool {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or_default();
        let mut parts = opaque.split('-');
        let is_version = parts.next() == Some(&self.version.to_string());
        let is_aggregate = parts.next().is_none_or(|id| id == self.end_of_id());
        let moment = self.moment();
        let is_moment = parts.next().is_none_or(|named| moment.is_none_or(|moment| moment == named));
        is_version && is_aggregate && is_moment
    }
}

impl From<&IdentityBody> for Revision {
    fn from(identity: &IdentityBody) -> Self {
        Self { id: identity.id, version: identity.version, changed_at: identity.changed_at }
    }
}

impl From<&Row> for Revision {
    fn from(row: &Row) -> Self {
        Self { id: row.document.id, version: row.version, changed_at: row.changed_at }
    }
}

/// The first bytes of a SHA-256 in hexadecimal.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let digest = parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    let first = digest.iter().take(DIGEST_BYTES);
    format!("{:016x}", first.fold(0, |digest: u64, byte| digest << 8 | u64::from(*byte)))
}

/// The version that a write expects: the present one if `If-Match` names it, `None` without the header or with `*`. If
/// no tag in the header names the present revision, the request fails, and the error has the present tag for the next
/// attempt.
pub(crate) fn expected_version(
    headers: &HeaderMap,
    present: impl Into<Revision>,
) -> Result<Option<i64>, ApiError> {
    let present = present.into();
    let Some(tags) = Tags::read(headers, &header::IF_MATCH) else {
        return Ok(None);
    };
    match tags {
        Tags::Any => Ok(None),
        Tags::These(tags) if tags.iter().any(|tag| present.is_named_by(tag)) => Ok(Some(present.version)),
        Tags::These(_) => Err(ApiError::precondition_failed(present)),
    }
}

/// Answers with JSON text that shows this revision, or with 304 if the client has it already.
pub(crate) fn unless_current(headers: &HeaderMap, shown: impl Into<Revision>, body: String) -> Response {
    let tag = shown.into().tag_of(&body);
    if is_known(headers, &tag) {
        return not_modified(&tag);
    }
    tagged(json_text(StatusCode::OK, body), &tag)
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

/// A list for an admin. It follows from the history of the organization, so the tag names the end of that history. The list
/// is read after the tag. If history has grown since, or the list is read while it is sent, the bytes may be of a later
/// state, and the tag is weak.
async fn admins_list(
    caller: &Caller,
    headers: &HeaderMap,
    list: impl AsyncFnOnce() -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    let tag = history_tag(caller.pool(), caller.organization_id()).await?;
    if is_known(headers, &tag) {
        return Ok(not_modified(&tag));
    }
    let list = list().await?;
    let is_exact =
        is_complete(list.body()) && history_tag(caller.pool(), caller.organization_id()).await? == tag;
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
    let tag = format!("\"{}\"", digest([&*body]));
    if is_known(headers, &tag) {
        return Ok(not_modified(&tag));
    }
    Ok(tagged(Response::from_parts(parts, Body::from(body)), &tag))
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
    let digest = digest([software, organization_id.as_bytes(), &generation, &sequence, &leaf]);
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

/// A response with its entity tag.
pub(crate) fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The tags in a condition.
enum Tags<'a> {
    /// `*` alone: any tag.
    Any,
    /// One of these. The header is split at commas, since no tag of ours contains one. Text that is no tag matches nothing.
    These(Vec<&'a str>),
}

impl<'a> Tags<'a> {
    /// The tags of all lines of a header; `None` without the header.
    fn read(headers: &'a HeaderMap, name: &HeaderName) -> Option<Self> {
        if !headers.contains_key(name) {
            return None;
        }
        let tags: Vec<&str> = elements(headers, name).collect();
        Some(if tags == ["*"] { Self::Any } else { Self::These(tags) })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    use uuid::Uuid;

    use super::{Revision, expected_version, is_known};

    fn revision(version: i64) -> Revision {
        Revision { id: Uuid::from_u128(0x1234_5678_9abc_def0), version, changed_at: None }
    }

    fn lines(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    fn expecting(values: &[&'static str], present: i64) -> Result<Option<i64>, ()> {
        expected_version(&lines(&header::IF_MATCH, values), revision(present)).map_err(drop)
    }

    #[test]
    fn only_the_present_version_is_expected() {
        assert_eq!(expecting(&["\"7\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"6\", \"7\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"7-9abcdef0\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"7-9abcdef0-0a1b2c3d4e5f6071\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["W/\"7-9abcdef0-0a1b2c3d4e5f6071\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"6\"", "\"8\",\"7\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["*"], 7), Ok(None));
        for mismatch in [
            "\"6\"",
            "7",
            "W/7",
            "",
            "\"77\"",
            "\"77-9abcdef0\"",
            "\"7-9abcdef1\"",
            "\"7-\"",
            "\"",
            "\"6\", *",
            "\"a,*,b\"",
        ] {
            assert_eq!(expecting(&[mismatch], 7), Err(()), "{mismatch}");
        }
        assert_eq!(expecting(&["\"5\"", "\"6\""], 7), Err(()));
    }

    #[test]
    fn a_version_of_another_moment_is_not_expected() {
        let moment = time::OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(0xabc);
        let present = Revision { changed_at: Some(moment), ..revision(7) };
        let expecting = |tag| expected_version(&lines(&header::IF_MATCH, &[tag]), present).map_err(drop);
        for tag in ["\"7\"", "\"7-9abcdef0\"", "\"7-9abcdef0-abc\"", "\"7-9abcdef0-abc-0a1b2c3d4e5f6071\""] {
            assert_eq!(expecting(tag), Ok(Some(7)), "{tag}");
        }
        assert_eq!(expecting("\"7-9abcdef0-abd\""), Err(()));
        assert_eq!(present.tag(), "\"7-9abcdef0-abc\"");
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

    #[test]
    fn without_the_header_nothing_is_expected() {
        assert_eq!(expected_version(&HeaderMap::new(), revision(7)).unwrap(), None);
    }
}
