//! Reading the query of a request: parameter by parameter, with all faults reported at once.
//!
//! A parameter that nobody asks for is a fault, unless it was forgotten before: a misspelt filter would otherwise answer
//! with more, or less, than was meant.

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::error::ApiError;
use crate::form::{Complaint, Fault, echo, steps};

/// The parameters that were not read yet.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Parameters {
    /// Takes a query apart.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self { pairs: pairs.into_owned().collect(), faults: vec![] }
    }

    /// Every value of a parameter.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.pairs).into_iter().partition(|(known, _)| known == name);
        self.pairs = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Whether a parameter is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == name)
    }

    /// Forgets all but these. Where queries meant nothing once, whoever sends what nobody asks for is not refused.
    pub(crate) fn keep(&mut self, names: &[&str]) {
        self.pairs.retain(|(known, _)| names.contains(&known.as_str()));
    }

    /// A parameter that is there at most once.
    pub(crate) fn one<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let mut values = self.all(name);
        let value = values.pop()?;
        let read = if values.is_empty() {
            read(&value)
        } else {
            Err(Complaint::new("value_error", "Parameter should be given once"))
        };
        read.map_err(|complaint| self.fault(name, complaint, &value)).ok()
    }

    /// Reports what is wrong with a parameter.
    pub(crate) fn fault(&mut self, name: &str, complaint: Complaint, value: &str) {
        self.faults.push(complaint.about(steps(["query", name]), echo(&Value::from(value))));
    }

    /// Ends reading. What was not asked for is a fault.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        for (name, value) in std::mem::take(&mut self.pairs) {
            self.fault(&name, Complaint::new("extra_forbidden", "Unknown parameter"), &value);
        }
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.faults)) }
    }
}

/// The most that a page has.
const LARGEST_LIMIT: u32 = 1000;

/// A whole number as digits. JSON writes it with a fraction of zero, too, and so do clients that build on it.
pub(crate) fn whole(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

/// How much a page has.
pub(crate) fn limit(text: &str) -> Result<u32, Complaint> {
    let limit = whole(text).parse().ok().filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
    limit.ok_or_else(|| Complaint::new("value_error", "Input should be a whole number from 1 to 1000"))
}

/// A moment in RFC 3339. A plus sign that was not escaped arrives as a space, which no such text has of its own. Years are
/// those of UTC, which the database is asked in: an offset can lead out of those that there are.
pub(crate) fn moment(text: &str) -> Result<OffsetDateTime, Complaint> {
    OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339)
        .ok()
        .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
        .filter(|moment| (1970..=9999).contains(&moment.year()))
        .ok_or_else(|| Complaint::new("datetime_parsing", "Input should be a date and time in RFC 3339"))
}
