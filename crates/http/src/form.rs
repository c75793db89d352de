//! Reading bodies: field by field, with all faults of a body reported at once in the shape that clients know.
//! Contract, sections 0.4 and 0.5.

use std::error::Error;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use http_body_util::LengthLimitError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tower_http::timeout::TimeoutError;
use uuid::Uuid;

use crate::caller::KeyCheck;
use crate::error::ApiError;

/// The largest body that is taken, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;

/// The longest text that is echoed in a fault.
const LONGEST_ECHO: usize = 256;

/// What is wrong with a value.
#[derive(Debug, Clone)]
pub struct Complaint {
    kind: &'static str,
    message: String,
}

impl Complaint {
    /// A complaint of a kind that clients know.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn about(self, location: Vec<Step>, input: Value) -> Fault {
        Fault { kind: self.kind, location, message: self.message, input }
    }
}

/// One thing that is wrong with a request, in the shape in which clients are told of it.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "loc")]
    location: Vec<Step>,
    #[serde(rename = "msg")]
    message: String,
    input: Value,
}

impl Fault {
    /// A field of the body that a rule of the business refuses.
    pub fn value(field: &str, message: &str) -> Self {
        Complaint::new("value_error", message).about(steps(["body", field]), Value::Null)
    }

    /// A segment of the path that cannot be what it should be.
    pub fn path(segment: &str, input: &str) -> Self {
        let complaint = Complaint::new("uuid_parsing", "Input should be a valid UUID");
        complaint.about(steps(["path", segment]), echo(&Value::from(input)))
    }

    /// A number in the path or the query that is none, is missing, or is out of range.
    pub fn number(place: &str, name: &str, input: Option<&str>) -> Self {
        let complaint = Complaint::new("int_parsing", "Input should be a valid number in range");
        complaint.about(steps([place, name]), echo(&Value::from(input)))
    }

    /// A parameter of the query that cannot be granted.
    pub fn parameter(name: &str, complaint: Complaint) -> Self {
        complaint.about(steps(["query", name]), Value::Null)
    }

    /// A header that is needed.
    pub fn header(name: &str) -> Self {
        Complaint::new("missing", "Header required").about(steps(["header", name]), Value::Null)
    }

    /// A header that is not what it should be.
    pub fn malformed_header(name: &str, message: &str) -> Self {
        Complaint::new("value_error", message).about(steps(["header", name]), Value::Null)
    }
}

pub(crate) fn steps<const N: usize>(names: [&str; N]) -> Vec<Step> {
    names.map(|name| Step::Name(name.to_owned())).to_vec()
}

/// A step on the way to a value: the name of a field, or a place in a list.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Step {
    Name(String),
    Place(usize),
}

/// A value as it is told back: whole when it is short, so that a client sees what we saw.
pub(crate) fn echo(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST_ECHO => {
            Value::from(format!("{}…", text.chars().take(LONGEST_ECHO).collect::<String>()))
        }
        Value::Array(_) | Value::Object(_) if value.to_string().len() > LONGEST_ECHO => Value::Null,
        _ => value.clone(),
    }
}

/// The bytes of a body, at most 1 MiB of them. When they have arrived, the key of the request is still valid.
#[derive(Debug)]
pub struct Body(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, LARGEST_BODY).await.map_err(|error| unreadable(&error))?;
        match parts.extensions.get::<KeyCheck>() {
            Some(key) if !key.is_valid().await? => Err(ApiError::unauthorized()),
            Some(_) | None => Ok(Self(bytes.into())),
        }
    }
}

fn unreadable(error: &axum::Error) -> ApiError {
    if has_cause::<LengthLimitError>(error) {
        ApiError::body_too_large()
    } else if has_cause::<TimeoutError>(error) {
        ApiError::body_too_slow()
    } else {
        ApiError::body_unreadable()
    }
}

fn has_cause<E: Error + 'static>(error: &axum::Error) -> bool {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.into_iter().any(<dyn Error>::is::<E>)
}

/// A JSON object being read.
#[derive(Debug)]
pub struct Form {
    fields: Map<String, Value>,
    location: Vec<Step>,
    faults: Vec<Fault>,
}

impl Form {
    /// Takes a body that is a JSON object, whatever its content type says (D21).
    pub fn parse(body: &Body) -> Result<Self, ApiError> {
        let value = serde_json::from_slice(&body.0).map_err(|error| {
            let complaint = Complaint::new("json_invalid", format!("JSON decode error: {error}"));
            let location = vec![Step::Name("body".to_owned()), Step::Place(0)];
            ApiError::invalid(vec![complaint.about(location, Value::Null)])
        })?;
        match value {
            Value::Object(fields) => Ok(Self { fields, location: steps(["body"]), faults: vec![] }),
            other => {
                let complaint = Complaint::new("model_attributes_type", "Input should be a valid object");
                Err(ApiError::invalid(vec![complaint.about(steps(["body"]), echo(&other))]))
            }
        }
    }

    /// Whether the field is there, null or not.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Whether the field is there and is not null.
    pub fn has_value(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field that must be there and must not be null.
    pub fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, Complaint>,
    ) -> Option<T> {
        if !self.has(name) {
            self.complain(name, Complaint::new("missing", "Field required"));
        }
        self.optional(name, read)
    }

    /// A field that may be absent, but not null.
    pub fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, Complaint>,
    ) -> Option<T> {
        let value = self.fields.get(name)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complain(name, complaint);
                None
            }
        }
    }

    /// A field that may be absent, which is `None`, or null, which is `Some(None)`.
    pub fn nullable<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, Complaint>,
    ) -> Option<Option<T>> {
        match self.fields.get(name)? {
            Value::Null => Some(None),
            _ => self.optional(name, read).map(Some),
        }
    }

    /// A field for which null means the same as absent.
    pub fn lenient<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, Complaint>) -> Option<T> {
        self.nullable(name, read).flatten()
    }

    /// An object inside this one, read by `read`; null means the same as absent.
    pub fn nested<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let fields = self.lenient(name, |value| {
            value
                .as_object()
                .cloned()
                .ok_or_else(|| Complaint::new("model_attributes_type", "Input should be a valid object"))
        })?;
        let location = self.location.iter().cloned().chain([Step::Name(name.to_owned())]).collect();
        let mut inner = Self { fields, location, faults: vec![] };
        let value = read(&mut inner);
        self.faults.append(&mut inner.faults);
        Some(value)
    }

    /// Fields other than these are faults (D16: only where the contract says so).
    pub fn forbid_others(&mut self, known: &[&str], message: &str) {
        let others: Vec<String> =
            self.fields.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
        for name in others {
            self.complain(&name, Complaint::new("extra_forbidden", message));
        }
    }

    /// Reports a rule that concerns more than one field.
    pub fn refuse(&mut self, name: &str, message: &str) {
        self.complain(name, Complaint::new("value_error", message));
    }

    fn complain(&mut self, name: &str, complaint: Complaint) {
        let location = self.location.iter().cloned().chain([Step::Name(name.to_owned())]).collect();
        let input = self.fields.get(name).map_or(Value::Null, echo);
        self.faults.push(complaint.about(location, input));
    }

    /// Ends reading: every fault, or the value that was required.
    pub fn finish<T>(self, required: Option<T>) -> Result<T, ApiError> {
        match required {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(ApiError::invalid(self.faults)),
        }
    }
}

/// Text of at most `longest` characters. Postgres cannot hold NUL, so it is refused everywhere (D18).
pub fn text(longest: usize) -> impl Fn(&Value) -> Result<String, Complaint> {
    move |value| {
        let text =
            value.as_str().ok_or_else(|| Complaint::new("string_type", "Input should be a valid string"))?;
        if text.contains('\0') {
            return Err(Complaint::new("value_error", "String should not contain NUL"));
        }
        if text.chars().count() > longest {
            return Err(Complaint::new(
                "string_too_long",
                format!("String should have at most {longest} characters"),
            ));
        }
        Ok(text.to_owned())
    }
}

/// Text of 1 to `longest` characters.
pub fn filled_text(longest: usize) -> impl Fn(&Value) -> Result<String, Complaint> {
    move |value| match text(longest)(value)? {
        text if text.is_empty() => {
            Err(Complaint::new("string_too_short", "String should have at least 1 character"))
        }
        text => Ok(text),
    }
}

/// True or false, and nothing that merely looks like it.
pub fn boolean(value: &Value) -> Result<bool, Complaint> {
    value.as_bool().ok_or_else(|| Complaint::new("bool_type", "Input should be a valid boolean"))
}

/// A UUID as text.
pub fn uuid(value: &Value) -> Result<Uuid, Complaint> {
    let complaint = || Complaint::new("uuid_parsing", "Input should be a valid UUID");
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(complaint)
}

/// One of the values of an enum.
pub fn choice<T: DeserializeOwned>(value: &Value) -> Result<T, Complaint> {
    T::deserialize(value)
        .map_err(|error| Complaint::new("enum", format!("Input should be a known value: {error}")))
}

/// Whatever a value type of the domain takes from text.
pub fn parsed<T, E: std::fmt::Display>(
    longest: usize,
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Value) -> Result<T, Complaint> {
    move |value| {
        parse(&text(longest)(value)?).map_err(|error| Complaint::new("value_error", error.to_string()))
    }
}

/// Any object, as long as no text in it holds NUL.
pub fn object(value: &Value) -> Result<(), Complaint> {
    if !value.is_object() {
        return Err(Complaint::new("dict_type", "Input should be a valid dictionary"));
    }
    if has_nul(value) {
        return Err(Complaint::new("value_error", "String should not contain NUL"));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
