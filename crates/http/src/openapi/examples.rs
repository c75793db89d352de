//! Examples of answers: bodies, made from their schemas, and every error in both of its forms.

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::form::insert;

/// A body that fits a schema: the example of the schema if it has one, its first variant, null where null is allowed.
pub(super) fn of(schema: &Value, schemas: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return of(&schemas[name], schemas);
    }
    if let Some(example) = schema.get("example").or_else(|| schema.pointer("/examples/0")) {
        return example.clone();
    }
    if let Some(Value::Array(variants)) = schema.get("oneOf").or_else(|| schema.get("anyOf")) {
        let null = variants.iter().find(|variant| variant["type"] == "null");
        return null.or(variants.first()).map_or(Value::Null, |variant| of(variant, schemas));
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    of_type(schema, schemas)
}

fn of_type(schema: &Value, schemas: &Value) -> Value {
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uuid")) => "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01".into(),
        (Some("string"), Some("date-time")) => "2026-01-02T03:04:05.678901Z".into(),
        (Some("string"), _) => "text".into(),
        (Some("integer"), _) => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        (Some("boolean"), _) => false.into(),
        (Some("array"), _) => json!([of(&schema["items"], schemas)]),
        (Some("object"), _) => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties.map(|(name, schema)| (name.clone(), of(schema, schemas))).collect::<Map<_, _>>().into()
        }
        _ => Value::Null,
    }
}

/// An error as published clients know it.
pub(super) fn error(code: Code) -> Value {
    with_common(code, json!({ "detail": detail(code) }))
}

/// The same error in the form of RFC 9457.
pub(super) fn problem(code: Code) -> Value {
    let members = match detail(code) {
        Value::Array(faults) => {
            json!({ "detail": "The request is not valid; `errors` says what is wrong with it", "errors": faults })
        }
        Value::Object(context) => json!({ "detail": code.meaning(), "context": context }),
        text => json!({ "detail": text }),
    };
    with_common(code, members)
}

fn with_common(code: Code, mut members: Value) -> Value {
    insert(
        &mut members,
        json!({
            "type": "about:blank",
            "title": code.status().canonical_reason(),
            "status": code.status().as_u16(),
            "code": code.as_str(),
            "request_id": "019b7e1a-0000-7000-8000-000000000001",
        }),
    );
    members
}

fn detail(code: Code) -> Value {
    let (name, message) = (code.as_str(), code.meaning());
    match code {
        Code::ValidationFailed => json!([
            { "type": "missing", "loc": ["body", "agent_handle"], "msg": "Field required", "input": null },
        ]),
        Code::AgentHandleUnavailable => {
            json!({ "code": name, "message": message, "blocking_namespace": "identities" })
        }
        Code::RedundantGrant => json!({ "error": name, "detail": message, "message": message }),
        Code::IdempotencyKeyReused | Code::IdempotencyInProgress => {
            json!({ "error": name, "message": message })
        }
        Code::LogRefused => json!({ "code": name, "message": message }),
        Code::ImessageInventoryPending => json!({
            "error": name, "message": message, "number_type": "dedicated_inbound", "retry_after_seconds": 3600,
        }),
        Code::Preparing => json!({
            "code": name, "message": message, "read_model": "identities", "phase": "fold", "done": 10, "total": 200,
        }),
        _ => message.into(),
    }
}
