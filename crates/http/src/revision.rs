//! Entity tags: the tags of answers, and the tags in the conditions of requests. RFC 9110, section 8.8.3.
//!
//! The tag of an aggregate is `"<version>-<end of the id>-<moment>-<digest>"`. A strong tag must stand for one sequence of
//! bytes, whoever asks, so it ends with a digest of the body. The rest names the revision, which a write compares. The
//! moment of the version differs even if a restored backup reaches the same version with other events.

use std::fmt::{self, Display, Formatter, Write as _};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use identity_log::Committed;
use identity_projections::identities::Row;
use identity_projections::versioned::Versioned;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::headers::elements;

/// How long a tag is, about: a version, the end of an id, a moment, and a digest.
const TAG_BYTES: usize = 56;

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
    /// The revision of the aggregate with this id that a row shows.
    pub(crate) fn of<T>(id: Uuid, found: &Versioned<T>) -> Self {
        Self { id, version: found.version, changed_at: Some(found.versioned_at) }
    }

    /// The revision that a write has made.
    pub(crate) fn made(id: Uuid, committed: &Committed) -> Self {
        let changed_at = committed.events.last().map(|event| event.recorded_at);
        Self { id, version: committed.version, changed_at }
    }

    /// The tag of the revision, without a digest.
    pub(crate) fn tag(self) -> String {
        self.tag_with(None)
    }

    /// The strong tag of a body that shows the revision and has this digest.
    pub(crate) fn tag_of(self, body: Digest) -> String {
        self.tag_with(Some(body))
    }

    /// Every read of an identity writes a tag, so it is written in one piece.
    fn tag_with(self, digest: Option<Digest>) -> String {
        let mut tag = String::with_capacity(TAG_BYTES);
        tag.push('"');
        // Writing to a string does not fail.
        let _ = write!(tag, "{}-{:08x}", self.version, self.end_of_id());
        if let Some(moment) = self.moment() {
            let _ = write!(tag, "-{moment:x}");
        }
        if let Some(digest) = digest {
            let _ = write!(tag, "-{digest}");
        }
        tag.push('"');
        tag
    }

    /// The moment of the version in microseconds.
    fn moment(self) -> Option<i64> {
        let microseconds = |moment: OffsetDateTime| {
            moment.unix_timestamp().saturating_mul(1_000_000).saturating_add(moment.microsecond().into())
        };
        self.changed_at.map(microseconds)
    }

    /// The last 32 bits of the id.
    fn end_of_id(self) -> u32 {
        let [.., a, b, c, d] = self.id.into_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether a tag names this revision.
    ///
    /// - The digest is not compared: the access rows in a body may change without a write to the identity.
    /// - The weak form counts, too, since a proxy that compresses makes tags weak.
    /// - A tag may be shorter, as older versions made it: id and moment are compared if it has them.
    pub(crate) fn is_named_by(self, tag: &str) -> bool {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or_default();
        let mut parts = opaque.split('-');
        let is_version = parts.next() == Some(&self.version.to_string());
        let is_aggregate = parts.next().is_none_or(|id| id == format!("{:08x}", self.end_of_id()));
        let moment = self.moment().map(|moment| format!("{moment:x}"));
        let is_moment = parts.next().is_none_or(|named| moment.as_ref().is_none_or(|moment| moment == named));
        is_version && is_aggregate && is_moment
    }
}

impl From<&Row> for Revision {
    fn from(row: &Row) -> Self {
        Self { id: row.document.id, version: row.version, changed_at: row.changed_at }
    }
}

/// The first eight bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    /// The digest of these bytes, one after the other.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let digest = parts.into_iter().fold(Sha256::new(), Sha256::chain_update).finalize();
        Self(digest.iter().take(8).fold(0, |first, byte| first << 8 | u64::from(*byte)))
    }
}

impl Display for Digest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
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
pub(crate) enum Tags<'a> {
    /// `*` alone: any tag.
    Any,
    /// One of these. The header is split at commas, since no tag of ours contains one. Text that is no tag matches nothing.
    These(Vec<&'a str>),
}

impl<'a> Tags<'a> {
    /// The tags of all lines of a header; `None` without the header.
    pub(crate) fn read(headers: &'a HeaderMap, name: &HeaderName) -> Option<Self> {
        if !headers.contains_key(name) {
            return None;
        }
        let tags: Vec<&str> = elements(headers, name).collect();
        Some(if tags == ["*"] { Self::Any } else { Self::These(tags) })
    }
}
