//! Conditional requests: an identity's version as its entity tag. RFC 9110, sections 8.8.3 and 13.1.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

use crate::error::ApiError;

/// The strong entity tag of a version.
pub(crate) fn entity_tag(version: i64) -> String {
    format!("\"{version}\"")
}

/// The version that a write expects, if its client named the one that is there. Several tags, or `*`, mean any of
/// them. A tag that does not match fails the request, with the present one for the next attempt.
pub(crate) fn expected_version(headers: &HeaderMap, present: i64) -> Result<Option<i64>, ApiError> {
    let Some(tags) = tags(headers, &header::IF_MATCH) else {
        return Ok(None);
    };
    match tags.iter().find(|tag| **tag == "*" || **tag == entity_tag(present)) {
        Some(&"*") => Ok(None),
        Some(_) => Ok(Some(present)),
        None => Err(ApiError::precondition_failed(present)),
    }
}

/// Whether a reading client has this very version, and wants to be told no more than that.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = tags(headers, &header::IF_NONE_MATCH);
    known
        .is_some_and(|known| known.iter().any(|known| *known == "*" || known.trim_start_matches("W/") == tag))
}

/// A response with its entity tag.
pub(crate) fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The tags of a header; `None` without it. What is no text is a tag that nothing has.
fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    let value = headers.get(name)?.to_str().unwrap_or_default();
    Some(value.split(',').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::expected_version;

    fn expecting(value: &'static str, present: i64) -> Option<Option<i64>> {
        let headers = HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(value))]);
        expected_version(&headers, present).ok()
    }

    #[test]
    fn only_the_present_version_is_expected() {
        assert_eq!(expecting("\"7\"", 7), Some(Some(7)));
        assert_eq!(expecting("\"6\", \"7\"", 7), Some(Some(7)));
        assert_eq!(expecting("*", 7), Some(None));
        for mismatch in ["\"6\"", "7", "W/\"7\"", "", "\"77\""] {
            assert_eq!(expecting(mismatch, 7), None, "{mismatch}");
        }
    }

    #[test]
    fn without_the_header_nothing_is_expected() {
        assert_eq!(expected_version(&HeaderMap::new(), 7).unwrap(), None);
    }
}
