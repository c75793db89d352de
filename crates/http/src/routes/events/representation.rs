//! The representations of history, and the choice among them by `Accept`.

use axum::http::HeaderMap;

use crate::accept;

/// A form in which history is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Representation {
    /// A page in a JSON object, with the cursor of the next.
    Page,
    /// A page as `CloudEvents` 1.0.
    CloudEvents,
    /// The whole range, one event a line.
    Lines,
    /// The whole range, and then new events.
    Live,
}

impl Representation {
    /// The representation to which the client gives the greatest weight; a page if it names none of them.
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
