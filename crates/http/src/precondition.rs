//! Conditional writes: a write with `If-Match` changes only the version that it names. RFC 9110, section 13.1.1.

use axum::http::{HeaderMap, header};

use crate::error::ApiError;
use crate::revision::{Revision, Tags};

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

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

    use uuid::Uuid;

    use super::{Revision, expected_version};

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
    fn without_the_header_nothing_is_expected() {
        assert_eq!(expected_version(&HeaderMap::new(), revision(7)).unwrap(), None);
    }
}
