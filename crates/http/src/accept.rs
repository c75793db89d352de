//! `Accept`: the media types that a client accepts, with their weights. RFC 9110, section 12.5.1.
//! `Accept-Encoding`: whether it accepts gzip. RFC 9110, section 12.5.3.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::headers::elements;

/// Every media range in the header, as the client spells it, with its weight.
pub(crate) fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    elements(headers, &header::ACCEPT).map(weighted)
}

/// The weight of a media type. The closest range counts: the type itself, then all of its kind, then anything.
pub(crate) fn weight(headers: &HeaderMap, media_type: &str) -> f32 {
    let kind = media_type.split_once('/').map_or(media_type, |(kind, _)| kind);
    let closest = [media_type, &format!("{kind}/*"), "*/*"];
    closest.into_iter().find_map(|range| weight_of_range(headers, range)).unwrap_or(0.0)
}

/// The weight of exactly this range, if the client names it.
pub(crate) fn weight_of_range(headers: &HeaderMap, range: &str) -> Option<f32> {
    ranges(headers).find_map(|(name, weight)| name.eq_ignore_ascii_case(range).then_some(weight))
}

/// A media range and its weight, which is 1 if the client gives no valid one.
fn weighted(range: &str) -> (&str, f32) {
    let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let weight = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    let weight = weight.and_then(|(_, weight)| weight.trim().parse().ok());
    (name.trim(), weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0))
}

/// Marks an answer whose form was chosen by `Accept`, so that HTTP caches do not give it to clients that accept
/// another.
pub(crate) fn negotiated(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether a client accepts gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let codings = lines.iter().flat_map(|line| line.split(',')).map(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().trim_start_matches("q=").trim_start_matches("Q=");
        (name.trim(), parameters.trim().is_empty() || weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    });
    let codings: Vec<(&str, bool)> = codings.collect();
    let accepts = |wanted: &str| {
        codings.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, accepted)| *accepted)
    };
    accepts("gzip").or_else(|| accepts("x-gzip")).or_else(|| accepts("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::weight;

    #[test]
    fn the_closest_range_says_how_much_a_media_type_is_wanted() {
        let cases = [
            ("application/json", 1.0),
            ("Application/JSON;Q=0.5", 0.5),
            ("application/json;charset=utf-8; q=0.25", 0.25),
            ("*/*;q=0.5", 0.5),
            ("*/*, application/*;q=0.5", 0.5),
            ("*/*, application/json;q=0", 0.0),
            ("application/json5, text/*", 0.0),
            ("application/json;q=nan", 1.0),
            ("", 0.0),
        ];
        for (accept, expected) in cases {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            let found = weight(&headers, "application/json");
            assert!((found - expected).abs() < f32::EPSILON, "{accept}: {found}");
        }
    }
}
