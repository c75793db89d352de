//! The OpenAPI 3.1 document, from the operations of the router. The attribute above a handler has its path, texts,
//! answers and errors. `about` describes what its extractors read. What follows from both (headers, general errors,
//! examples) is added here.

pub(crate) mod about;
mod components;
mod examples;
pub(crate) mod written;

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::UtoipaMethodRouter;

use self::about::{About, component};
use crate::caller::App;
use crate::code::Code;
use crate::form::insert;
use crate::problem::{KnownError, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Agent identity API",
        description = "An agent identity is the unit of presence of an AI agent: a globally unique handle that owns exactly \
                       one mailbox and one tunnel, may have a phone number and access to vault secrets, and is invisible \
                       to other agents until visibility is granted."
    ),
    components(schemas(KnownError<'static>, Problem<'static>))
)]
struct Frame;

/// A handler with the descriptions from its signature and its attribute.
pub(crate) type DescribedOperation = (About, UtoipaMethodRouter<App>);

/// Collections that published clients write with a slash at the end. They are answered with and without it, since some
/// clients do not follow redirects. Contract, section 0.2.
pub(crate) const TWINS: [&str; 2] = ["/api/v1/identities", "/api/v1/tunnels"];

/// The document of these operations as compact JSON.
pub(crate) fn written(operations: Vec<DescribedOperation>) -> String {
    // Text and numbers can always be encoded.
    serde_json::to_string(&Ordered(&complete(operations))).unwrap_or_default()
}

/// JSON whose objects are sorted by name, except that `application/json` comes first: clients that take the first of
/// several media types should get this one.
#[derive(Debug)]
pub struct Ordered<'a>(pub &'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let mut members: Vec<(&String, &Value)> = members.iter().collect();
                members.sort_by_key(|(name, _)| name.as_str() != "application/json");
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, &Ordered(value)))?;
                map.end()
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Ordered)),
            value => value.serialize(serializer),
        }
    }
}

fn complete(operations: Vec<DescribedOperation>) -> Value {
    let mut document = to_value(&Frame::openapi());
    let mut schemas = document.pointer_mut("/components/schemas").map(Value::take).unwrap_or_default();
    for (_, (derived, ..)) in &operations {
        insert(&mut schemas, derived.iter().map(|(name, schema)| (name.clone(), to_value(schema))).collect());
    }
    flatten(&mut schemas);
    let (mut paths, mut failures) = (Map::new(), Map::new());
    for (about, (_, served, _)) in operations {
        if let Some((name, schema)) = &about.body {
            insert(&mut schemas, json!({ *name: schema }));
        }
        for (path, item) in to_value(&served).as_object_mut().into_iter().flatten() {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                let own = Operation { path, is_write: method != "get", about: &about };
                failures.extend(own.complete(operation, &schemas));
            }
            insert(paths.entry(path).or_insert_with(|| json!({})), item.take());
        }
    }
    // Schemas to which nothing refers are left out.
    let text = json!([paths, schemas, failures]).to_string();
    let is_referred_to = |name: &String| text.contains(&format!("#/components/schemas/{name}\""));
    schemas.as_object_mut().into_iter().for_each(|all| all.retain(|name, _| is_referred_to(name)));
    let mut components = components::all();
    insert(&mut components, json!({ "schemas": schemas }));
    if let Some(responses) = components.get_mut("responses") {
        insert(responses, failures.into());
    }
    // Relative to the address of the document, so that the prefix of a proxy counts for every path.
    let servers = json!([{ "url": "." }]);
    insert(
        &mut document,
        json!({ "paths": paths, "components": components, "servers": servers, "tags": components::tags() }),
    );
    document
}

/// Derived types can always be encoded.
fn to_value(derived: &impl Serialize) -> Value {
    serde_json::to_value(derived).unwrap_or_default()
}

/// Makes one object of each schema that is an `allOf`: the type is serialized as one object, and generators of clients
/// understand that best.
fn flatten(schemas: &mut Value) {
    let all = schemas.clone();
    for schema in schemas.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let Some(Value::Array(parts)) = schema.get_mut("allOf").map(Value::take) else { continue };
        let mut whole = json!({ "type": "object", "properties": {}, "required": [] });
        for part in &parts {
            add_part(&mut whole, part, &all);
        }
        if let Some(members) = schema.as_object_mut() {
            members.remove("allOf");
        }
        insert(schema, whole);
    }
}

fn add_part(whole: &mut Value, part: &Value, schemas: &Value) {
    let part = match part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => &schemas[name],
        None => part,
    };
    for nested in part["allOf"].as_array().into_iter().flatten() {
        add_part(whole, nested, schemas);
    }
    insert(&mut whole["properties"], part["properties"].clone());
    let required = part["required"].as_array().cloned().unwrap_or_default();
    whole["required"].as_array_mut().into_iter().for_each(|all| all.extend(required.clone()));
}

/// An operation that is being completed.
struct Operation<'a> {
    path: &'a str,
    is_write: bool,
    about: &'a About,
}

impl Operation<'_> {
    /// Completes the operation, and returns the failures to which it refers.
    fn complete(&self, operation: &mut Value, schemas: &Value) -> Map<String, Value> {
        let named =
            operation.as_object_mut().and_then(|members| members.remove("x-errors")).unwrap_or_default();
        let security = if self.about.key.is_some() { json!([{ "ApiKey": [] }]) } else { json!([]) };
        let description = self.description(operation["description"].as_str().unwrap_or_default());
        insert(
            operation,
            json!({ "description": description, "parameters": self.parameters(), "security": security }),
        );
        if self.about.key.is_some() {
            insert(operation, json!({ "x-key-scopes": self.about.scopes }));
        }
        if let Some((name, _)) = &self.about.body {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            let content = json!({ "application/json": { "schema": schema } });
            insert(operation, json!({ "requestBody": { "required": true, "content": content } }));
        }
        for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            self.complete_success(response, schemas);
        }
        let (references, failures) = self.failures(&named);
        insert(&mut operation["responses"], references.into());
        failures
    }

    /// The description: the text of the handler, whose key is accepted, and the other spelling of the path.
    fn description(&self, own: &str) -> String {
        let own = own.replace('\n', " ");
        let key = self.about.key.map_or_else(|| "Needs no key.".to_owned(), |key| format!("Needs {key}."));
        let twin = TWINS.contains(&self.path).then(|| format!("`{}/` is the same.", self.path));
        let sentences = [Some(own), Some(key), twin].into_iter().flatten().filter(|text| !text.is_empty());
        sentences.collect::<Vec<_>>().join(" ")
    }

    /// The parameters of the path, of the extractors, and of all operations.
    fn parameters(&self) -> Vec<Value> {
        let mut parameters: Vec<Value> =
            self.path.split(['{', '}']).skip(1).step_by(2).map(component).collect();
        parameters.extend(self.about.parameters.iter().cloned());
        if self.is_write {
            parameters.push(component("Idempotency-Key"));
        }
        parameters.push(component("X-Request-Id"));
        parameters
    }

    /// Headers of every answer.
    fn headers(&self) -> Vec<&'static str> {
        match self.about.key {
            None => vec!["X-Request-Id"],
            Some(_) => vec!["X-Request-Id", "RateLimit-Policy", "RateLimit"],
        }
    }

    fn complete_success(&self, response: &mut Value, schemas: &Value) {
        let mut headers = self.headers();
        for (is_sent, header) in [
            (self.is_write || self.about.takes("If-None-Match"), "ETag"),
            (self.is_write, "Idempotent-Replayed"),
            (self.is_write, "Inkbox-Notices"),
            (self.about.takes("cursor"), "Link"),
            (self.about.takes("after"), "X-Next-Cursor"),
        ] {
            headers.extend(is_sent.then_some(header));
        }
        insert(response, json!({ "headers": references(&headers) }));
        let contents = response.get_mut("content").and_then(Value::as_object_mut);
        for (media_type, content) in contents.into_iter().flatten() {
            if media_type.ends_with("json")
                && content.pointer("/schema/type").is_none_or(|kind| kind != "string")
            {
                let example = examples::of(&content["schema"], schemas);
                insert(content, json!({ "example": example }));
            }
        }
    }

    /// The failures of the operation: by status a reference, and by name the response itself. Many operations fail
    /// alike, so the document has a third of the length, and pages that show it are fast.
    fn failures(&self, named: &Value) -> (Map<String, Value>, Map<String, Value>) {
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in Code::ALL.iter().filter(|code| self.can_fail(**code, named)) {
            by_status.entry(code.status().as_u16()).or_default().push(*code);
        }
        let headers = self.headers();
        let (mut responses, mut failures) = (Map::new(), Map::new());
        let mut refer = |status: String, name: &str| {
            responses.insert(status, json!({ "$ref": format!("#/components/responses/{name}") }));
        };
        for (status, codes) in by_status {
            let name = self.name_of(&codes);
            refer(status.to_string(), &name);
            failures.insert(name, failure(&codes, &headers));
        }
        refer("405".to_owned(), "MethodNotAllowed");
        refer("431".to_owned(), "HeadTooLarge");
        if self.about.takes("If-None-Match") {
            let headers = references(&[headers, vec!["ETag"]].concat());
            let unchanged = json!({ "description": "Nothing has changed", "headers": headers });
            responses.insert("304".to_owned(), unchanged);
        }
        (responses, failures)
    }

    /// The name of a response with these codes. Operations without a key have other headers.
    fn name_of(&self, codes: &[Code]) -> String {
        let codes: Vec<String> = codes.iter().map(|code| format!("{code:?}")).collect();
        format!("{}{}", codes.join("Or"), if self.about.key.is_some() { "" } else { "WithoutKey" })
    }

    fn can_fail(&self, code: Code, named: &Value) -> bool {
        let by_itself = match code {
            Code::InternalError | Code::HostRequired => true,
            // Every write may have an `Idempotency-Key`, and its body is read for that.
            Code::BodyTooLarge
            | Code::BodyTooSlow
            | Code::BodyUnreadable
            | Code::IdempotencyKeyReused
            | Code::IdempotencyInProgress
            | Code::OutcomeUnknown
            | Code::QuotaUsedUp => self.is_write,
            Code::ValidationFailed => {
                let has_typed_segment = ["_id}", "_sequence}"].iter().any(|end| self.path.contains(end));
                self.is_write || has_typed_segment && !self.path.contains("{api_key_id}")
            }
            _ => false,
        };
        let is_named = named.as_array().into_iter().flatten().any(|name| name == code.as_str());
        by_itself || is_named || self.about.codes.contains(&code)
    }
}

fn references(headers: &[&str]) -> Map<String, Value> {
    let reference =
        |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    headers.iter().map(reference).collect()
}

/// The response for a status, with the errors that have it and these headers.
fn failure(codes: &[Code], headers: &[&str]) -> Value {
    let meanings: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let mut headers = headers.to_vec();
    let is_retried =
        |code: &Code| matches!(code.status().as_u16(), 429 | 503) || *code == Code::IdempotencyInProgress;
    headers.extend(codes.iter().any(is_retried).then_some("Retry-After"));
    headers.extend(codes.contains(&Code::PreconditionFailed).then_some("ETag"));
    let content = |schema: &str, example: fn(Code) -> Value| {
        let examples: Map<String, Value> =
            codes.iter().map(|code| (code.as_str().to_owned(), json!({ "value": example(*code) }))).collect();
        json!({ "schema": { "$ref": format!("#/components/schemas/{schema}") }, "examples": examples })
    };
    json!({
        "description": meanings.join("; "),
        "headers": references(&headers),
        "content": {
            "application/json": content("Error", examples::error),
            "application/problem+json": content("Problem", examples::problem),
        },
    })
}

#[cfg(test)]
mod tests;
