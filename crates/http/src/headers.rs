//! Headers with several lines. RFC 9110, section 5.3: the lines of a list are one list. If a header has one value, and
//! its lines differ, it counts as missing: the service does not guess which one was meant.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header by which a write is recognized that is sent again.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The value of a header that has one value. It may be sent several times, if all lines are equal.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next()?;
    lines.all(|other| other == value).then_some(value)
}

/// The elements of a header that is a list. A line that is no text is an empty element.
pub(crate) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Makes extractors for headers that a handler reads, so that its signature tells the OpenAPI document of them.
macro_rules! headers_with {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name(pub(crate) HeaderMap);

            impl<S: Sync> FromRequestParts<S> for $name {
                type Rejection = Infallible;

                async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
                    Ok(Self(parts.headers.clone()))
                }
            }
        )*
    };
}

headers_with! {
    /// The headers of a write that honours `If-Match`.
    IfMatch;
    /// The headers of a read that honours `If-None-Match`.
    IfNoneMatch;
    /// The headers of a stream that goes on after `Last-Event-ID`.
    LastEventId;
}
