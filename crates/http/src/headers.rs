//! Headers that came in more than one line. RFC 9110, section 5.3: the lines of a list are one list; where there is one
//! value, lines that differ name none, and nobody guesses which of them was meant.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The value of a header that has one, however often it was sent.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next()?;
    lines.all(|other| other == value).then_some(value)
}

/// The elements of a header that is a list. A line that is no text is an element that means nothing.
pub(crate) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}
