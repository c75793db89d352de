//! The member `detail` of an error, in the form that clients of the hosted API read. Contract, section 0.5.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::fault::Fault;

/// A sentence; or an object with the code and further fields; or a list of faults.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Detail {
    /// A sentence.
    Text(String),
    /// An object with a machine code in it.
    #[schema(value_type = Object)]
    Coded(Value),
    /// The faults of the request.
    Faults(Vec<Fault>),
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Value> for Detail {
    fn from(value: Value) -> Self {
        Self::Coded(value)
    }
}

impl Detail {
    /// The detail as one sentence, for `application/problem+json`.
    pub(crate) fn sentence(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Coded(object) => object.get("message").and_then(Value::as_str).unwrap_or_default(),
            Self::Faults(_) => "The request is not valid; `errors` says what is wrong with it",
        }
    }
}
