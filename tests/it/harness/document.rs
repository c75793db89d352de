//! Compares every answer with the `OpenAPI` document: the document has the operation, the status and the headers, and the
//! body has the documented shape, without members that the document does not name.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::answer::Answer;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document: Value = serde_json::from_str(identity_http::document()).unwrap();
    close(&mut document["components"]["schemas"]);
    document
});

/// Headers that the document must name wherever they are answered.
const HEADERS: [&str; 10] = [
    "Allow",
    "ETag",
    "Idempotent-Replayed",
    "Inkbox-Notices",
    "Link",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Next-Cursor",
    "X-Request-Id",
];

/// Validators by the JSON pointer of their schema.
static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> = LazyLock::new(Mutex::default);

/// Forbids members that a schema does not name. The document allows them, since clients have to tolerate members of later
/// versions, but this version must not answer any.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        _ => {}
    }
}

/// Compares an answer with the document. Skipped are paths that the document does not have, and answers to what is no
/// valid HTTP request.
#[track_caller]
pub(super) fn hold(answer: &Answer) {
    let Some((method, target)) = answer.what.split_once(' ') else { return };
    let target = target.split(' ').next().unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let Some((template, item)) = find(path) else { return };
    let Some(operation) = item.get(method.to_lowercase()) else {
        return assert!(matches!(answer.status, 400..500) || method == "HEAD", "{answer} is not documented");
    };
    if answer.bytes.is_empty() && matches!(answer.status, 400 | 414 | 431) {
        return;
    }
    let status = answer.status.to_string();
    let documented = operation["responses"].get(&status).is_some();
    assert!(documented, "{answer}: {method} {template} has no {status} in the document");
    let own = format!("/paths/{}/{}/responses/{status}", escaped(template), method.to_lowercase());
    let reference = operation["responses"][&status]["$ref"].as_str();
    let response = reference.map_or(own, |reference| reference.trim_start_matches('#').to_owned());
    for name in HEADERS.iter().filter(|name| answer.headers.contains_key(&name.to_lowercase())) {
        let documented =
            DOCUMENT.pointer(&response).is_some_and(|found| found["headers"].get(*name).is_some());
        assert!(documented, "{answer}: {method} {template} has no {name} with {status} in the document");
    }
    let content_type = answer.headers.get("content-type").map(String::as_str).unwrap_or_default();
    if answer.bytes.is_empty() || !content_type.contains("json") || content_type == "application/x-ndjson" {
        return;
    }
    let pointer = format!("{response}/content/{}/schema", escaped(content_type));
    let fault = validator(&pointer, answer)
        .iter_errors(&answer.json())
        .next()
        .map(|fault| format!("{fault} at {}", fault.instance_path()));
    assert_eq!(fault, None, "{answer} is not what the document says");
}

/// The name of a member as a step of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The template that matches a path; of several the one with the fewest parameters.
fn find(path: &str) -> Option<(&'static str, &'static Value)> {
    // Two collections are also served with a slash at the end, and documented without it.
    let is_twin = matches!(path, "/api/v1/identities/" | "/api/v1/tunnels/");
    let path = if is_twin { path.trim_end_matches('/') } else { path };
    let fits = |template: &str| {
        let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        wanted.len() == given.len()
            && wanted.iter().zip(given).all(|(wanted, given)| {
                if wanted.starts_with('{') { !given.is_empty() } else { *wanted == given }
            })
    };
    let paths = DOCUMENT["paths"].as_object()?;
    let found = paths.iter().filter(|(template, _)| fits(template));
    found
        .min_by_key(|(template, _)| template.matches('{').count())
        .map(|(template, item)| (template.as_str(), item))
}

#[track_caller]
fn validator(pointer: &str, answer: &Answer) -> &'static Validator {
    let mut known = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(validator) = known.get(pointer) {
        return validator;
    }
    let schema =
        DOCUMENT.pointer(pointer).unwrap_or_else(|| panic!("{answer}: the document has no {pointer}"));
    let mut schema = schema.clone();
    schema["components"] = json!({ "schemas": DOCUMENT["components"]["schemas"] });
    let validator: &'static Validator = Box::leak(Box::new(jsonschema::draft202012::new(&schema).unwrap()));
    known.insert(pointer.to_owned(), validator);
    validator
}
