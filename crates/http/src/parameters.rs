//! Reading the query of a request: parameter by parameter, with all faults reported at once.
//!
//! A parameter that no reader asks for is a fault, unless it was dropped by `keep`: otherwise a request with a misspelt
//! filter would be answered with more, or less, than was meant.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, RawQuery};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa::PartialSchema;
use uuid::Uuid;

use crate::error::ApiError;
use crate::fault::{Complaint, Fault, MAX_FAULTS, echo, steps};
use crate::form::insert;
use crate::form::reader::{Reader, read_choice, read_uuid, schema_of, without_nul};

/// A type that is read from a query.
pub(crate) trait ReadQuery: Sized {
    /// Reads every parameter.
    fn read(parameters: &mut Parameters) -> Self;
}

/// A query whose parameters are known. If reading it needs more than the query, its handler reads it.
pub(crate) trait DescribeQuery {
    /// Asks for every parameter for which reading asks.
    fn describe(parameters: &mut Parameters);
}

impl<T: ReadQuery> DescribeQuery for T {
    fn describe(parameters: &mut Parameters) {
        T::read(parameters);
    }
}

/// A query that is not read into a `T` yet.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) Option<String>, PhantomData<T>);

impl<S: Send + Sync, T> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = RawQuery::from_request_parts(parts, state).await;
        Ok(Self(query.map_or(None, |RawQuery(query)| query), PhantomData))
    }
}

impl<T> Query<T> {
    /// The parameters, not read yet.
    pub(crate) fn parameters(&self) -> Parameters {
        Parameters::parse(self.0.as_deref())
    }
}

impl<T: ReadQuery> Query<T> {
    /// Reads the parameters, and reports all faults.
    pub(crate) fn read(&self) -> Result<T, ApiError> {
        let mut parameters = self.parameters();
        let value = T::read(&mut parameters);
        parameters.finish()?;
        Ok(value)
    }
}

/// The parameters that were not read yet; or, for the OpenAPI document, a description of those that are asked for.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    /// Parameters whose values are no text. They are faults if they are asked for.
    broken: Vec<(String, String)>,
    faults: Vec<Fault>,
    described: Option<Vec<Value>>,
}

impl Parameters {
    /// Splits a query into parameters.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let mut parameters = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).into_owned().next() else {
                continue;
            };
            if is_text(pair) {
                parameters.pairs.push((name, value));
            } else {
                parameters.broken.push((name, value));
            }
        }
        parameters
    }

    /// Every parameter that `T` asks for, as the OpenAPI document has them.
    pub(crate) fn described<T: DescribeQuery>() -> Vec<Value> {
        let mut parameters = Self { described: Some(vec![]), ..Self::default() };
        T::describe(&mut parameters);
        parameters.described.unwrap_or_default()
    }

    fn describe(&mut self, name: &str, about: &str, schema: impl FnOnce() -> Value) {
        if let Some(described) = &mut self.described {
            described.push(json!({ "name": name, "in": "query", "description": about, "schema": schema() }));
        }
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
        self.pairs.iter().chain(&self.broken).any(|(known, _)| known == name)
    }

    /// Drops all parameters but these. Older operations took no query, so unknown parameters are ignored there.
    pub(crate) fn keep(&mut self, names: &[&str]) {
        self.pairs.retain(|(known, _)| names.contains(&known.as_str()));
        self.broken.retain(|(known, _)| names.contains(&known.as_str()));
    }

    /// A parameter that may be given once.
    pub(crate) fn one<T>(&mut self, name: &str, about: &str, reader: impl Reader<str, T>) -> Option<T> {
        self.one_if(true, name, about, reader)
    }

    /// The same if `is_asked`; otherwise the parameter counts as unknown.
    #[expect(clippy::needless_pass_by_value, reason = "readers are made where they are handed over")]
    pub(crate) fn one_if<T>(
        &mut self,
        is_asked: bool,
        name: &str,
        about: &str,
        reader: impl Reader<str, T>,
    ) -> Option<T> {
        self.describe(name, about, || reader.schema());
        let mut values = if is_asked { self.all(name) } else { vec![] };
        let value = values.pop()?;
        let read = if values.is_empty() {
            reader.read(&value)
        } else {
            Err(Complaint::new("value_error", "Parameter should be given once"))
        };
        read.map_err(|complaint| self.fault(name, complaint, &value)).ok()
    }

    /// A parameter that may be given up to 100 times; `None` if it is absent.
    pub(crate) fn some(&mut self, name: &str, about: &str) -> Option<Vec<String>> {
        let schema = || json!({ "type": "array", "items": { "type": "string" }, "maxItems": MAX_VALUES });
        self.describe(name, about, schema);
        let values = self.all(name);
        if values.len() > MAX_VALUES {
            let message = format!("Parameter should be given at most {MAX_VALUES} times");
            self.fault(name, Complaint::new("too_long", message), "");
        }
        (!values.is_empty()).then_some(values)
    }

    /// A parameter that may be given several times; the last one counts. If it is required, a missing one is a fault.
    pub(crate) fn number(&mut self, name: &str, about: &str, is_required: bool) -> Option<u64> {
        self.describe(name, about, sequence_schema);
        if let (true, Some(Some(described))) =
            (is_required, self.described.as_mut().map(|all| all.last_mut()))
        {
            insert(described, json!({ "required": true }));
        }
        let text = self.all(name).pop();
        if text.is_none() && !is_required {
            return None;
        }
        let number = text.as_deref().and_then(sequence);
        if number.is_none() {
            self.faults.push(Fault::number("query", name, text.as_deref()));
        }
        number
    }

    /// Marks a parameter as required in the description.
    pub(crate) fn require(&mut self, name: &str) {
        for described in self.described.iter_mut().flatten().filter(|described| described["name"] == name) {
            insert(described, json!({ "required": true }));
        }
    }

    /// Leaves a parameter out of the description.
    pub(crate) fn hide(&mut self, name: &str) {
        self.described.iter_mut().for_each(|all| all.retain(|described| described["name"] != name));
    }

    /// Reports a fault of a parameter.
    pub(crate) fn fault(&mut self, name: &str, complaint: Complaint, value: &str) {
        self.faults.push(complaint.about(steps(["query", name]), echo(&Value::from(value))));
    }

    /// Ends reading. A parameter that was not asked for is a fault.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        for (name, value) in std::mem::take(&mut self.broken) {
            self.fault(&name, Complaint::new("value_error", "Input should be UTF-8"), &value);
        }
        for (name, value) in std::mem::take(&mut self.pairs).into_iter().take(MAX_FAULTS) {
            self.fault(&name, Complaint::new("extra_forbidden", "Unknown parameter"), &value);
        }
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.faults)) }
    }
}

/// Whether a part of a query is UTF-8 after percent-decoding. Otherwise it would be decoded to another text.
fn is_text(part: &str) -> bool {
    percent_encoding::percent_decode_str(part).decode_utf8().is_ok()
}

/// How many values a parameter may have, if it may have several.
const MAX_VALUES: usize = 100;

/// The largest page.
const MAX_PAGE: u32 = 1000;

/// The digits of a whole number. JSON may write it with a fraction of zero, and clients that build on JSON do so in a
/// query, too.
fn whole(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

/// A place in history, or the number of events up to it: a whole number from 1.
pub(crate) fn sequence(text: &str) -> Option<u64> {
    let number = whole(text).parse::<u64>().ok();
    number.filter(|number| *number > 0 && i64::try_from(*number).is_ok())
}

/// The largest whole number that JavaScript represents exactly is the maximum.
fn sequence_schema() -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": 9_007_199_254_740_991_i64 })
}

/// The size of a page.
pub(crate) fn limit() -> impl Reader<str, u32> {
    let read = |text: &str| {
        let limit = whole(text).parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
        limit.ok_or_else(|| Complaint::new("value_error", "Input should be a whole number from 1 to 1000"))
    };
    (read, || json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE }))
}

/// Any text.
pub(crate) fn text() -> impl Reader<str, String> {
    (
        |text: &str| without_nul(text).map(str::to_owned),
        || json!({ "type": "string", "pattern": "^[^\\u0000]*$" }),
    )
}

/// A UUID.
pub(crate) fn id() -> impl Reader<str, Uuid> {
    (|text: &str| read_uuid(&text.into()), || json!({ "type": "string", "format": "uuid" }))
}

/// True or false.
pub(crate) fn flag() -> impl Reader<str, bool> {
    let complaint = || Complaint::new("bool_parsing", "Input should be true or false");
    (move |text: &str| text.parse().map_err(|_| complaint()), || json!({ "type": "boolean" }))
}

/// One of the values of an enum.
pub(crate) fn choice<T: DeserializeOwned + PartialSchema>() -> impl Reader<str, T> {
    (|text: &str| read_choice(&text.into()), schema_of::<T>)
}

/// A cursor, which `open` reads.
pub(crate) fn cursor<T>(open: impl Fn(&str) -> Result<T, Complaint>) -> impl Reader<str, T> {
    (open, || json!({ "type": "string", "minLength": 1 }))
}

/// A moment in RFC 3339.
pub(crate) fn moment() -> impl Reader<str, OffsetDateTime> {
    (read_moment, || json!({ "type": "string", "format": "date-time" }))
}

/// Reads a moment. A plus sign that was not escaped arrives as a space, and no valid moment has a space. The year in
/// UTC must be one that Postgres can represent: the offset can lead out of that range.
pub(crate) fn read_moment(text: &str) -> Result<OffsetDateTime, Complaint> {
    OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339)
        .ok()
        .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
        .filter(|moment| (1970..=9999).contains(&moment.year()))
        .ok_or_else(|| Complaint::new("datetime_parsing", "Input should be a date and time in RFC 3339"))
}
