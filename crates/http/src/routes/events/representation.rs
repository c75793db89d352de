//! The forms in which history is written, and which of them a client wants most.

use axum::http::HeaderMap;

use crate::accept;

/// How history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Representation {
    /// A page in a JSON object, with the cursor of the next.
    Page,
    /// A page as `CloudEvents` 1.0.
    CloudEvents,
    /// The whole range, one event a line.
    Lines,
    /// The whole range, and what happens from now on.
    Live,
}

impl Representation {
    /// The first one in the order of the client's preference; a page where the client names none that there is.
    pub(super) fn negotiate(headers: &HeaderMap) -> Self {
        let mut ranges: Vec<(&str, f32)> = accept::ranges(headers).collect();
        // A stable sort: among equals the client's order counts.
        ranges.sort_by(|(_, left), (_, right)| right.total_cmp(left));
        let known =
            ranges.into_iter().filter(|(_, weight)| *weight > 0.0).find_map(|(name, _)| Self::named(name));
        known.unwrap_or(Self::Page)
    }

    fn named(media_type: &str) -> Option<Self> {
        match &*media_type.to_ascii_lowercase() {
            "application/json" | "application/*" | "*/*" => Some(Self::Page),
            "application/cloudevents-batch+json" => Some(Self::CloudEvents),
            "application/x-ndjson" => Some(Self::Lines),
            "text/event-stream" => Some(Self::Live),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::Representation;

    #[test]
    fn the_most_wanted_representation_that_there_is_wins() {
        let cases = [
            ("*/*", Representation::Page),
            ("text/html", Representation::Page),
            ("application/x-ndjson", Representation::Lines),
            ("Text/Event-Stream", Representation::Live),
            ("text/event-stream, application/json", Representation::Live),
            ("application/json;q=0.5, application/x-ndjson", Representation::Lines),
            (
                "application/x-ndjson; q=0, application/cloudevents-batch+json;q=0.1",
                Representation::CloudEvents,
            ),
        ];
        for (accept, expected) in cases {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Representation::negotiate(&headers), expected, "{accept}");
        }
        assert_eq!(Representation::negotiate(&HeaderMap::new()), Representation::Page);
    }
}
