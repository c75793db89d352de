//! Faults: what is wrong with a request, in the form that clients know. Contract, section 0.5.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The longest text of the client that a fault repeats, in characters.
const LONGEST_ECHO: usize = 256;

/// How many faults an error names at most.
pub(crate) const MAX_FAULTS: usize = 64;

/// Why a value is refused.
#[derive(Debug, Clone)]
pub struct Complaint {
    kind: &'static str,
    message: String,
}

impl Complaint {
    /// A complaint of a kind that published clients know.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn about(self, location: Vec<Step>, input: Value) -> Fault {
        let location = location.into_iter().map(Step::clipped).collect();
        Fault { kind: self.kind, location, message: clipped(self.message), input }
    }
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Fault {
    /// The kind of fault.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The place: `body`, `path`, `query` or `header`, and the way from there to the value.
    #[serde(rename = "loc")]
    location: Vec<Step>,
    /// What the value should be.
    #[serde(rename = "msg")]
    message: String,
    /// The value as it was sent.
    input: Value,
}

impl Fault {
    /// A field of the body that a rule of the contract refuses.
    pub fn value(field: &str, message: &str) -> Self {
        Complaint::new("value_error", message).about(steps(["body", field]), Value::Null)
    }

    /// A segment of the path that is no valid UUID.
    pub fn path(segment: &str, input: &str) -> Self {
        let complaint = Complaint::new("uuid_parsing", "Input should be a valid UUID");
        complaint.about(steps(["path", segment]), echo(&Value::from(input)))
    }

    /// A number in the path or the query that is malformed, missing, or out of range.
    pub fn number(place: &str, name: &str, input: Option<&str>) -> Self {
        let complaint = Complaint::new("int_parsing", "Input should be a valid number in range");
        complaint.about(steps([place, name]), echo(&Value::from(input)))
    }

    /// A parameter of the query that is refused.
    pub fn parameter(name: &str, complaint: Complaint) -> Self {
        complaint.about(steps(["query", name]), Value::Null)
    }

    /// A header that is missing.
    pub fn header(name: &str) -> Self {
        Complaint::new("missing", "Header required").about(steps(["header", name]), Value::Null)
    }

    /// A header with an invalid value.
    pub(crate) fn malformed_header(name: &str, message: &str) -> Self {
        Complaint::new("value_error", message).about(steps(["header", name]), Value::Null)
    }
}

pub(crate) fn steps<const N: usize>(names: [&str; N]) -> Vec<Step> {
    names.map(|name| Step::Name(name.to_owned())).to_vec()
}

/// A step on the way to a value: the name of a member, or a position in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Step {
    Name(String),
    Place(usize),
}

impl Step {
    fn clipped(self) -> Self {
        match self {
            Self::Name(name) => Self::Name(clipped(name)),
            Self::Place(place) => Self::Place(place),
        }
    }
}

/// Text that may be the client's, cut to the length that a fault repeats.
fn clipped(text: String) -> String {
    match text.char_indices().nth(LONGEST_ECHO) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A value as a fault repeats it: whole if it is short, so that a client sees what the service has received.
pub(crate) fn echo(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(clipped(text.clone())),
        Value::Array(_) | Value::Object(_) if value.to_string().len() > LONGEST_ECHO => Value::Null,
        _ => value.clone(),
    }
}
