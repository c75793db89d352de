//! The answer of `/metrics`, and assertions about it.

use super::caller::Caller;

/// The text of the exposition.
#[derive(Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Caller {
    /// Scrapes the service.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let url = format!("http://{}/metrics", self.at_metrics().authority());
        let response = reqwest::blocking::get(url).unwrap();
        assert_eq!(response.status(), 200);
        assert!(
            response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text")
        );
        let text = response.text().unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
        Metrics(text)
    }
}

impl Metrics {
    /// The value of a series; `None` if it is missing.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Asserts that a series has this value.
    #[track_caller]
    pub(crate) fn has(&self, series: &str, expected: f64) {
        let found = self.value(series);
        let same = found.is_some_and(|found| (found - expected).abs() < f64::EPSILON);
        assert!(same, "{series} is {found:?}, not {expected}, in:\n{}", self.0);
    }
}
