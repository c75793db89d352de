//! Versions of aggregates on the wire: the entity tags that name them, and the tags that a condition names. RFC 9110, section
//! 8.8.3.
//!
//! A strong tag stands for one sequence of bytes at one URL, whoever asks: it ends with a digest of the body. Before that it
//! names the revision, which is what a write compares: `"<version>-<end of the id>-<moment>-<digest>"`. The moment at which
//! the version came about tells versions of the same number apart after a part of history was lost.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use identity_log::Committed;
use identity_projections::identities::{IdentityBody, Row};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::headers::elements;

/// How many bytes of a digest stand in a tag.
const DIGEST_BYTES: usize = 8;

/// How many hexadecimal digits of an id stand in a tag: its last ones, since they are random.
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
    /// What a write has made of an aggregate.
    pub(crate) fn made(id: Uuid, committed: &Committed) -> Self {
        let changed_at = committed.events.last().map(|event| event.recorded_at);
        Self { id, version: committed.version, changed_at }
    }

    /// The tag of the revision, whatever its body is.
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

    /// Whether a tag names this revision. The digest of a body does not count: who is shown beside an identity may
    /// change without a write to it. A proxy that compresses makes tags weak, so the weak form counts, too. A tag of the
    /// version alone names it in whatever aggregate and history.
    pub(crate) fn is_named_by(self, tag: &str) -> bool {
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
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let digest = parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    let first = digest.iter().take(DIGEST_BYTES);
    format!("{:016x}", first.fold(0, |digest: u64, byte| digest << 8 | u64::from(*byte)))
}

/// A response with its entity tag.
pub(crate) fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// What a condition names.
pub(crate) enum Tags<'a> {
    /// `*`, which stands by itself: whatever there is.
    Any,
    /// One of these. What is no tag is one that nothing has; a tag of ours has no comma, so it is found whatever stands
    /// around it.
    These(Vec<&'a str>),
}

impl<'a> Tags<'a> {
    /// The tags of all lines of a header; nothing without it.
    pub(crate) fn read(headers: &'a HeaderMap, name: &HeaderName) -> Option<Self> {
        if !headers.contains_key(name) {
            return None;
        }
        let tags: Vec<&str> = elements(headers, name).collect();
        Some(if tags == ["*"] { Self::Any } else { Self::These(tags) })
    }
}
