//! Reading bodies: field by field, with all faults of a body reported at once in the shape that clients know.
//! Contract, sections 0.4 and 0.5. `body.rs` waits for the bytes, and limits them.

pub(crate) mod reader;

use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value, json};

use self::reader::{Reader, nullable, object_fields, or_null};
use crate::body::Body;
use crate::caller::AppSettings;
use crate::error::ApiError;
use crate::fault::{Complaint, Fault, MAX_FAULTS, Step, echo, steps};

/// A type that is read from a body.
pub(crate) trait ReadForm: Sized {
    /// The name of its schema.
    const NAME: &'static str;

    /// A valid body, in JSON.
    const EXAMPLE: &'static str;

    /// Reads every field, even if others have faults. `None` if a required field is missing, and for a form that only
    /// describes itself, which has no fields.
    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self>;
}

/// A body that is not read into a `T` yet.
#[derive(Debug)]
pub(crate) struct Sent<T>(Body, PhantomData<T>);

impl<S: Send + Sync, T> FromRequest<S> for Sent<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(Body::from_request(request, state).await?, PhantomData))
    }
}

impl<T: ReadForm> Sent<T> {
    /// The value, or every fault of the body.
    pub(crate) fn read(&self, settings: &AppSettings) -> Result<T, ApiError> {
        self.read_if(settings, |_| Ok(()))
    }

    /// The same, after `is_allowed` has checked whether the caller may send these fields.
    pub(crate) fn read_if(
        &self,
        settings: &AppSettings,
        is_allowed: impl FnOnce(&Form) -> Result<(), ApiError>,
    ) -> Result<T, ApiError> {
        let mut form = Form::parse(&self.0)?;
        is_allowed(&form)?;
        let value = T::read(&mut form, settings);
        form.finish(value)
    }

    /// The body as it came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.0
    }
}

/// A JSON object that is being read; or, for the OpenAPI document, a description: then it has no fields, and records
/// which fields are asked for.
#[derive(Debug)]
pub struct Form {
    fields: Map<String, Value>,
    location: Vec<Step>,
    faults: Vec<Fault>,
    shape: Option<Shape>,
}

impl Form {
    /// Parses a body that is a JSON object. Its content type does not matter (D21).
    fn parse(body: &Body) -> Result<Self, ApiError> {
        let value = identity_domain::json::parse(&body.0).map_err(|error| {
            let complaint = Complaint::new("json_invalid", format!("JSON decode error: {error}"));
            let location = vec![Step::Name("body".to_owned()), Step::Place(0)];
            ApiError::invalid(vec![complaint.about(location, Value::Null)])
        })?;
        match value {
            Value::Object(fields) => Ok(Self::of(fields, steps(["body"]), None)),
            other => {
                let complaint = Complaint::new("model_attributes_type", "Input should be a valid object");
                Err(ApiError::invalid(vec![complaint.about(steps(["body"]), echo(&other))]))
            }
        }
    }

    fn of(fields: Map<String, Value>, location: Vec<Step>, shape: Option<Shape>) -> Self {
        Self { fields, location, faults: vec![], shape }
    }

    /// The schema of the fields for which `read` asks.
    pub(crate) fn describe<T>(read: impl FnOnce(&mut Self) -> T) -> Value {
        let mut form = Self::of(Map::new(), vec![], Some(Shape::default()));
        read(&mut form);
        form.shape.unwrap_or_default().schema()
    }

    /// Whether the field is present, null or not.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Whether the field is present and not null.
    pub fn is_set(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field that must be present and not null.
    pub(crate) fn required<T>(
        &mut self,
        name: &str,
        about: &str,
        reader: impl Reader<Value, T>,
    ) -> Option<T> {
        if let Some(shape) = &mut self.shape {
            shape.required.push(name.to_owned());
        } else if !self.has(name) {
            self.complain(name, Complaint::new("missing", "Field required"));
        }
        self.optional(name, about, reader)
    }

    /// A field that may be absent, but not null.
    #[expect(clippy::needless_pass_by_value, reason = "readers are made where they are handed over")]
    pub(crate) fn optional<T>(
        &mut self,
        name: &str,
        about: &str,
        reader: impl Reader<Value, T>,
    ) -> Option<T> {
        if let Some(shape) = &mut self.shape {
            shape.member(name, about, reader.schema());
        }
        let value = self.fields.get(name)?;
        match reader.read(value) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complain(name, complaint);
                None
            }
        }
    }

    /// A field that may be absent, which is `None`, or null, which is `Some(None)`.
    #[expect(clippy::option_option, reason = "absent, null and a value are three things")]
    pub(crate) fn nullable<T>(
        &mut self,
        name: &str,
        about: &str,
        reader: impl Reader<Value, T>,
    ) -> Option<Option<T>> {
        self.optional(name, about, or_null(reader))
    }

    /// A field for which null means the same as absent.
    pub(crate) fn lenient<T>(&mut self, name: &str, about: &str, reader: impl Reader<Value, T>) -> Option<T> {
        self.nullable(name, about, reader).flatten()
    }

    /// An object inside this one, read by `read`; null means the same as absent.
    pub(crate) fn nested<T>(
        &mut self,
        name: &str,
        about: &str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        if let Some(shape) = &mut self.shape {
            shape.member(name, about, nullable(Self::describe(read)));
            return None;
        }
        let fields = self.lenient(name, about, (object_fields, || Value::Null))?;
        let location = self.location.iter().cloned().chain([Step::Name(name.to_owned())]).collect();
        let mut inner = Self::of(fields, location, None);
        let value = read(&mut inner);
        self.faults.append(&mut inner.faults);
        Some(value)
    }

    /// Fields other than these are faults (D16: only where the contract says so).
    pub(crate) fn forbid_others(&mut self, known: &[&str], message: &str) {
        if let Some(shape) = &mut self.shape {
            shape.is_closed = true;
        }
        let others = self.fields.keys().filter(|name| !known.contains(&name.as_str()));
        let others: Vec<String> = others.take(MAX_FAULTS).cloned().collect();
        for name in others {
            self.complain(&name, Complaint::new("extra_forbidden", message));
        }
    }

    /// If a field has this value, another one must be present and not null.
    pub fn requires(&mut self, (field, value): (&str, &str), needed: &str, message: &str) {
        if let Some(shape) = &mut self.shape {
            let then =
                json!({ "required": [needed], "properties": { needed: { "not": { "type": "null" } } } });
            shape.rule(field, value, &then);
        }
        if self.fields.get(field).is_some_and(|found| found == value) && !self.is_set(needed) {
            self.refuse(needed, message);
        }
    }

    /// If a field has this value, another one must be null or absent.
    pub(crate) fn excludes(&mut self, (field, value): (&str, &str), other: &str, message: &str) {
        if let Some(shape) = &mut self.shape {
            shape.rule(field, value, &json!({ "properties": { other: { "type": "null" } } }));
        }
        if self.fields.get(field).is_some_and(|found| found == value) && self.is_set(other) {
            self.refuse(other, message);
        }
    }

    /// Whether no field was refused so far.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// Reports the violation of a rule that a schema cannot express.
    pub fn refuse(&mut self, name: &str, message: &str) {
        self.complain(name, Complaint::new("value_error", message));
    }

    /// A field that published clients send and this service does not serve. It is refused with any value, since the
    /// client would take a success for an effect (D16). It is left out of the description.
    pub fn unserved(&mut self, name: &str, message: &str) {
        if self.has(name) {
            self.refuse(name, message);
        }
    }

    fn complain(&mut self, name: &str, complaint: Complaint) {
        let location = self.location.iter().cloned().chain([Step::Name(name.to_owned())]).collect();
        let input = self.fields.get(name).map_or(Value::Null, echo);
        self.faults.push(complaint.about(location, input));
    }

    /// Ends reading. Returns every fault, or the value.
    fn finish<T>(self, required: Option<T>) -> Result<T, ApiError> {
        match required {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(ApiError::invalid(self.faults)),
        }
    }
}

/// The schema of the object, as far as it was asked for.
#[derive(Debug, Default)]
struct Shape {
    properties: Map<String, Value>,
    required: Vec<String>,
    rules: Vec<Value>,
    is_closed: bool,
}

impl Shape {
    fn member(&mut self, name: &str, about: &str, mut schema: Value) {
        insert(&mut schema, json!({ "description": about }));
        self.properties.insert(name.to_owned(), schema);
    }

    fn rule(&mut self, field: &str, value: &str, then: &Value) {
        let when = json!({ "required": [field], "properties": { field: { "const": value } } });
        self.rules.push(json!({ "if": when, "then": then }));
    }

    fn schema(self) -> Value {
        let mut schema = json!({ "type": "object", "properties": self.properties });
        if !self.required.is_empty() {
            insert(&mut schema, json!({ "required": self.required }));
        }
        if !self.rules.is_empty() {
            insert(&mut schema, json!({ "allOf": self.rules }));
        }
        if self.is_closed {
            insert(&mut schema, json!({ "additionalProperties": false }));
        }
        schema
    }
}

/// Adds members to a JSON object.
pub(crate) fn insert(object: &mut Value, members: Value) {
    if let (Value::Object(object), Value::Object(members)) = (object, members) {
        object.extend(members);
    }
}
