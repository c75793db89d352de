//! Readers of single values. A reader has the JSON schema of the values that it accepts, so the schemas in the OpenAPI
//! document come from the code that reads.

use identity_domain::{Handle, Moment};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
use uuid::Uuid;

use crate::fault::Complaint;

/// Reads one value, and has the schema of the values that it accepts.
pub(crate) trait Reader<I: ?Sized, T> {
    /// Reads the value.
    fn read(&self, input: &I) -> Result<T, Complaint>;

    /// The JSON schema of the values that it accepts.
    fn schema(&self) -> Value;
}

/// A reader is a pair of functions.
impl<I: ?Sized, T, R: Fn(&I) -> Result<T, Complaint>, S: Fn() -> Value> Reader<I, T> for (R, S) {
    fn read(&self, input: &I) -> Result<T, Complaint> {
        self.0(input)
    }

    fn schema(&self) -> Value {
        self.1()
    }
}

/// The same reader, which also accepts null.
pub(super) fn or_null<T>(reader: impl Reader<Value, T>) -> impl Reader<Value, Option<T>> {
    NullableReader(reader)
}

struct NullableReader<R>(R);

impl<T, R: Reader<Value, T>> Reader<Value, Option<T>> for NullableReader<R> {
    fn read(&self, value: &Value) -> Result<Option<T>, Complaint> {
        if value.is_null() { Ok(None) } else { self.0.read(value).map(Some) }
    }

    fn schema(&self) -> Value {
        nullable(self.0.schema())
    }
}

/// The schema of the same values, and of null.
pub(super) fn nullable(mut schema: Value) -> Value {
    if let Some(kind) = schema.get_mut("type") {
        *kind = match kind.take() {
            Value::String(kind) if kind != "null" => json!([kind, "null"]),
            kind => kind,
        };
    }
    for (list, null) in [("enum", Value::Null), ("anyOf", json!({ "type": "null" }))] {
        if let Some(Value::Array(values)) = schema.get_mut(list) {
            values.push(null);
        }
    }
    schema
}

pub(super) fn object_fields(value: &Value) -> Result<Map<String, Value>, Complaint> {
    let fields = value.as_object().cloned();
    fields.ok_or_else(|| Complaint::new("model_attributes_type", "Input should be a valid object"))
}

/// The pattern of text without NUL, which Postgres cannot store.
const NO_NUL: &str = "^[^\\u0000]*$";

/// Text without NUL (D18).
pub(crate) fn without_nul(text: &str) -> Result<&str, Complaint> {
    if text.contains('\0') {
        return Err(Complaint::new("value_error", "String should not contain NUL"));
    }
    Ok(text)
}

fn read_text(value: &Value, longest: usize) -> Result<&str, Complaint> {
    let text =
        value.as_str().ok_or_else(|| Complaint::new("string_type", "Input should be a valid string"))?;
    if without_nul(text)?.chars().count() > longest {
        let message = format!("String should have at most {longest} characters");
        return Err(Complaint::new("string_too_long", message));
    }
    Ok(text)
}

/// Text of at most `longest` characters.
pub(crate) fn text(longest: usize) -> impl Reader<Value, String> {
    (
        move |value: &Value| read_text(value, longest).map(str::to_owned),
        move || json!({ "type": "string", "maxLength": longest, "pattern": NO_NUL }),
    )
}

/// Text of 1 to `longest` characters.
pub(crate) fn filled_text(longest: usize) -> impl Reader<Value, String> {
    (
        move |value: &Value| match read_text(value, longest)? {
            "" => Err(Complaint::new("string_too_short", "String should have at least 1 character")),
            text => Ok(text.to_owned()),
        },
        move || json!({ "type": "string", "minLength": 1, "maxLength": longest, "pattern": NO_NUL }),
    )
}

/// True or false, and no other value that stands for them.
pub(crate) fn boolean() -> impl Reader<Value, bool> {
    (
        |value: &Value| {
            value.as_bool().ok_or_else(|| Complaint::new("bool_type", "Input should be a valid boolean"))
        },
        || json!({ "type": "boolean" }),
    )
}

/// A whole number that is not negative. As in JSON Schema, 5.0 is one.
pub(crate) fn read_whole_number(value: &Value) -> Option<u64> {
    let without_fraction = || value.as_number()?.to_string().strip_suffix(".0")?.parse::<i64>().ok();
    value.as_u64().or_else(|| u64::try_from(without_fraction()?).ok())
}

/// A whole number from 0 to `largest`.
pub(crate) fn whole_number(largest: u64) -> impl Reader<Value, u64> {
    let read = move |value: &Value| match read_whole_number(value) {
        Some(number) if number <= largest => Ok(number),
        Some(_) => {
            let message = format!("Input should be less than or equal to {largest}");
            Err(Complaint::new("less_than_equal", message))
        }
        None => Err(Complaint::new("int_type", "Input should be a valid integer that is not negative")),
    };
    (read, move || json!({ "type": "integer", "minimum": 0, "maximum": largest }))
}

/// A moment in RFC 3339.
pub(crate) fn moment() -> impl Reader<Value, Moment> {
    let complaint = || Complaint::new("datetime_parsing", "Input should be a date and time in RFC 3339");
    let read = move |value: &Value| value.as_str().and_then(Moment::parse).ok_or_else(complaint);
    (read, || json!({ "type": "string", "format": "date-time" }))
}

/// A UUID as text.
pub(crate) fn read_uuid(value: &Value) -> Result<Uuid, Complaint> {
    let complaint = || Complaint::new("uuid_parsing", "Input should be a valid UUID");
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(complaint)
}

/// A UUID as text.
pub(crate) fn uuid() -> impl Reader<Value, Uuid> {
    (read_uuid, || json!({ "type": "string", "format": "uuid" }))
}

/// One of the values of an enum.
pub(crate) fn read_choice<T: DeserializeOwned>(value: &Value) -> Result<T, Complaint> {
    T::deserialize(value)
        .map_err(|error| Complaint::new("enum", format!("Input should be a known value: {error}")))
}

/// One of the values of an enum.
pub(crate) fn choice<T: DeserializeOwned + PartialSchema>() -> impl Reader<Value, T> {
    (read_choice::<T>, schema_of::<T>)
}

/// The derived schema of a type without its description, since the field has one of its own.
pub(crate) fn schema_of<T: PartialSchema>() -> Value {
    // A derived schema can always be encoded.
    let mut schema = serde_json::to_value(T::schema()).unwrap_or_default();
    if let Some(members) = schema.as_object_mut() {
        members.remove("description");
    }
    schema
}

/// A value type of the domain that is parsed from text. The fault has the text of its error.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    longest: usize,
    parse: impl Fn(&str) -> Result<T, E>,
    schema: impl Fn() -> Value,
) -> impl Reader<Value, T> {
    let read = move |value: &Value| {
        parse(read_text(value, longest)?).map_err(|error| Complaint::new("value_error", error.to_string()))
    };
    (read, schema)
}

/// A handle. Its own rules limit its length.
pub(crate) fn handle() -> impl Reader<Value, Handle> {
    parsed(usize::MAX, Handle::parse, handle_schema)
}

/// The schema of a handle in the spellings that are accepted.
pub(crate) fn handle_schema() -> Value {
    let pattern = "^@?[A-Za-z0-9]-?[A-Za-z0-9](-?[A-Za-z0-9])+$";
    json!({ "type": "string", "minLength": 3, "maxLength": 64, "pattern": pattern })
}

/// Any object without NUL in its texts.
pub(crate) fn object() -> impl Reader<Value, ()> {
    let read = |value: &Value| {
        if !value.is_object() {
            return Err(Complaint::new("dict_type", "Input should be a valid dictionary"));
        }
        if has_nul(value) {
            return Err(Complaint::new("value_error", "String should not contain NUL"));
        }
        Ok(())
    };
    (read, || json!({ "type": "object" }))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
