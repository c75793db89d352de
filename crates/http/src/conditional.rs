//! Conditional requests: an identity's version as its entity tag. RFC 9110, sections 8.8.3 and 13.1.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

use identity_projections::identities::IdentityBody;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;
use crate::headers::elements;

/// How much of a digest tells rows apart.
const CHECKSUM_BYTES: usize = 8;

/// The strong entity tag of a version.
pub(crate) fn entity_tag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The strong entity tag of an identity's body. Rows that name viewers end with those viewers, which is no event of this
/// identity: a checksum of them stands beside the version.
pub(crate) fn identity_tag(found: &IdentityBody) -> String {
    if !found.names_viewers() {
        return entity_tag(found.version);
    }
    let digest = Sha256::digest(&found.access);
    let first = digest.iter().take(CHECKSUM_BYTES);
    let checksum = first.fold(0, |checksum: u64, byte| checksum << 8 | u64::from(*byte));
    format!("\"{}-{checksum:016x}\"", found.version)
}

/// Whether a tag is of this version, whatever stands beside that.
fn is_of_version(tag: &str, version: i64) -> bool {
    let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or_default();
    opaque.split('-').next() == Some(&version.to_string())
}

/// The version that a write expects, if its client named the one that is there. Several tags, or `*`, mean any of
/// them. A tag that does not match fails the request, with the present one for the next attempt.
pub(crate) fn expected_version(headers: &HeaderMap, present: i64) -> Result<Option<i64>, ApiError> {
    let Some(tags) = Tags::read(headers, &header::IF_MATCH) else {
        return Ok(None);
    };
    match tags {
        Tags::Any => Ok(None),
        Tags::These(tags) if tags.iter().any(|tag| is_of_version(tag, present)) => Ok(Some(present)),
        Tags::These(_) => Err(ApiError::precondition_failed(present)),
    }
}

/// Whether a reading client has this very version, and wants to be told no more than that. A weak tag will do: it is
/// enough for whoever reads.
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

/// What a condition names.
enum Tags<'a> {
    /// `*`, which stands by itself: whatever there is.
    Any,
    /// One of these. What is no tag is one that nothing has; a tag of ours has no comma, so it is found whatever stands
    /// around it.
    These(Vec<&'a str>),
}

impl<'a> Tags<'a> {
    /// The tags of all lines of a header; nothing without it.
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

    use super::{expected_version, is_known};

    fn lines(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    fn expecting(values: &[&'static str], present: i64) -> Result<Option<i64>, ()> {
        expected_version(&lines(&header::IF_MATCH, values), present).map_err(drop)
    }

    #[test]
    fn only_the_present_version_is_expected() {
        assert_eq!(expecting(&["\"7\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"6\", \"7\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"7-0a1b2c3d4e5f6071\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["\"6\"", "\"8\",\"7\""], 7), Ok(Some(7)));
        assert_eq!(expecting(&["*"], 7), Ok(None));
        for mismatch in ["\"6\"", "7", "W/\"7\"", "", "\"77\"", "\"77-7\"", "\"", "\"6\", *", "\"a,*,b\""] {
            assert_eq!(expecting(&[mismatch], 7), Err(()), "{mismatch}");
        }
        assert_eq!(expecting(&["\"5\"", "\"6\""], 7), Err(()));
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
        assert_eq!(expected_version(&HeaderMap::new(), 7).unwrap(), None);
    }
}
