//! The OpenAPI 3.1 document. `utoipa` collects the operations from the handlers; what is the same for many of them (keys,
//! headers, errors) follows from what each says of itself in `x-about`, and is written out here.

mod examples;
mod requests;
pub mod schemas;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::code::Code;
use crate::routes::{
    access, api_keys, docs, events, health, identities, log, mailboxes, phone_numbers, tunnels, vault, whoami,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Agent identity API",
        description = "An agent identity is the unit of presence of an AI agent: a globally unique handle that owns exactly \
                       one mailbox and one tunnel, may have a phone number and access to vault secrets, and is invisible \
                       to other agents until visibility is granted."
    ),
    paths(
        identities::list_identities,
        identities::create_identity,
        identities::get_identity,
        identities::update_identity,
        identities::delete_identity,
        access::list_access,
        access::grant_access,
        access::revoke_access,
        phone_numbers::release_phone_number_of_identity,
        phone_numbers::list_phone_numbers,
        phone_numbers::provision_phone_number,
        phone_numbers::get_phone_number,
        phone_numbers::update_phone_number,
        phone_numbers::release_phone_number,
        tunnels::list_tunnels,
        tunnels::get_tunnel,
        tunnels::update_tunnel,
        mailboxes::list_mailboxes,
        mailboxes::get_mailbox,
        mailboxes::update_mailbox,
        api_keys::list_api_keys,
        api_keys::create_api_key,
        api_keys::get_own_api_key,
        api_keys::revoke_api_key,
        vault::list_secrets,
        vault::register_secret,
        vault::delete_secret,
        vault::list_access_rules,
        vault::grant_secret_access,
        vault::revoke_secret_access,
        events::list_events,
        events::list_identity_events,
        log::get_checkpoint,
        log::get_verifier_key,
        log::prove_inclusion,
        log::prove_consistency,
        whoami::whoami,
        health::healthz,
        health::readyz,
        docs::openapi,
        docs::page,
        docs::script,
        docs::style,
    )
)]
struct Operations;

/// The document as compact JSON.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| complete().to_string());
    &DOCUMENT
}

/// What an operation says of itself.
#[derive(Debug, Default, Deserialize)]
struct About {
    /// Whose key it takes: `none`, `any`, or somebody who must not be somebody else.
    key: String,
    /// Query parameters and headers, by their name among the components.
    parameters: Vec<String>,
    /// Codes of errors that not every operation has.
    errors: Vec<String>,
    /// The name of the body's shape.
    body: Option<String>,
}

/// An operation on its way into the document.
struct Operation<'a> {
    path: &'a str,
    is_write: bool,
    about: About,
}

fn complete() -> Value {
    // What was derived always encodes.
    let mut document = serde_json::to_value(Operations::openapi()).unwrap_or_default();
    insert(&mut document, "/components/schemas", requests::bodies());
    insert(&mut document, "/components/schemas", error_shapes());
    insert(
        &mut document,
        "/components",
        json!({
            "parameters": requests::parameters(),
            "headers": headers(),
            "responses": responses(),
            "securitySchemes": security(),
        }),
    );
    insert(&mut document, "", json!({ "servers": [{ "url": "/" }], "tags": tags() }));
    examples::add(&mut document);
    let samples = document.pointer("/components/schemas").cloned().unwrap_or_default();
    for (path, item) in members(&mut document, "/paths") {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            write_out(path, method, operation, &samples);
        }
    }
    spell_collections_both_ways(&mut document);
    document
}

/// Adds members to an object.
fn insert(document: &mut Value, place: &str, more: Value) {
    if let (Some(Value::Object(object)), Value::Object(more)) = (document.pointer_mut(place), more) {
        object.extend(more);
    }
}

fn members<'a>(document: &'a mut Value, place: &str) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    document.pointer_mut(place).and_then(Value::as_object_mut).into_iter().flatten()
}

fn security() -> Value {
    json!({ "ApiKey": {
        "type": "apiKey", "in": "header", "name": "X-API-Key",
        "description": "`ApiKey_<uuid>.<secret>`, of an admin, an agent or an auditor",
    } })
}

fn tags() -> Value {
    json!([
        { "name": "Identities", "description": "Who there is" },
        { "name": "Visibility", "description": "Who may see whom" },
        { "name": "Phone numbers", "description": "One for an identity, for life" },
        { "name": "Tunnels", "description": "Created and deleted with their identities" },
        { "name": "Mailboxes", "description": "Created and deleted with their identities" },
        { "name": "API keys", "description": "Who asks" },
        { "name": "Vault", "description": "References to secrets, and who may use them" },
        { "name": "History", "description": "What happened, and the proof of it; for admins and auditors" },
        { "name": "Operation", "description": "For whoever runs the service; without a key" },
    ])
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = json!({ "type": "string" });
    json!({
        "X-Request-Id": header("Names the request in the log and in history", text.clone()),
        "ETag": header("The version, for `If-Match` and `If-None-Match`", text.clone()),
        "Link": header("The next page, with `rel=\"next\"` (RFC 8288); absent on the last", text.clone()),
        "X-Next-Cursor": header("The cursor of the next page of CloudEvents", text.clone()),
        "Retry-After": header("After how many seconds to come again", json!({ "type": "integer" })),
        "Idempotent-Replayed": header("Present when the answer is that of an earlier request", json!({ "const": "true" })),
        "Allow": header("The methods that the path serves", text.clone()),
        "RateLimit-Policy": header("The quotas that bind the key, where there are any: `q` requests in `w` seconds", text.clone()),
        "RateLimit": header("Where it stands under them: `r` requests are left, all of them again in `t` seconds", text.clone()),
    })
}

/// What every path may answer, whatever it is asked.
fn responses() -> Value {
    json!({
        "MethodNotAllowed": failure(&[Code::MethodNotAllowed], &["X-Request-Id", "Allow"]),
        "HeadTooLarge": {
            "description": "The head of the request is larger than 64 KiB, or has more than 100 lines; without a body",
        },
    })
}

/// The two forms of an error, see docs/errors.md.
fn error_shapes() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let common = json!({
        "type": { "type": "string", "description": "Always `about:blank`" },
        "title": { "type": "string", "description": "The status in words" },
        "status": { "type": "integer" },
        "code": { "type": "string", "enum": codes, "description": "What a program should decide by" },
        "request_id": { "type": "string", "description": "Names the request in the log" },
    });
    let required = ["detail", "type", "title", "status", "code", "request_id"];
    let faults = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Fault" } });
    let mut known = json!({ "type": "object", "required": required, "properties": common.clone(), "description": "An error" });
    insert(
        &mut known,
        "/properties",
        json!({ "detail": {
        "description": "A sentence; or an object with the code and what belongs to it; or what is wrong with the request",
        "oneOf": [{ "type": "string" }, { "type": "object", "additionalProperties": true }, faults.clone()],
    } }),
    );
    let mut problem = json!({ "type": "object", "required": required, "properties": common, "description": "An error by RFC 9457" });
    insert(
        &mut problem,
        "/properties",
        json!({
            "detail": { "type": "string" },
            "errors": faults,
            "context": { "type": "object", "additionalProperties": true },
        }),
    );
    let fault = json!({
        "type": "object",
        "description": "One thing that is wrong with a request",
        "required": ["type", "loc", "msg", "input"],
        "properties": {
            "type": { "type": "string", "description": "The kind of fault" },
            "loc": {
                "type": "array", "description": "Where: `body`, `path`, `query` or `header`, and the way from there",
                "items": { "type": ["string", "integer"] },
            },
            "msg": { "type": "string", "description": "What should be there" },
            "input": { "description": "What was there" },
        },
    });
    json!({ "Error": known, "Problem": problem, "Fault": fault })
}

fn write_out(path: &str, method: &str, operation: &mut Value, samples: &Value) {
    let Some(members) = operation.as_object_mut() else { return };
    let about = members.remove("x-about").unwrap_or_default();
    let about: About = serde_json::from_value(about).unwrap_or_default();
    let operation = Operation { path, is_write: method != "get", about };
    members.insert("parameters".to_owned(), operation.parameters());
    if operation.about.key != "none" {
        members.insert("security".to_owned(), json!([{ "ApiKey": [] }]));
    }
    if let Some(body) = &operation.about.body {
        let schema = json!({ "$ref": format!("#/components/schemas/{body}") });
        let content = json!({ "application/json": { "schema": schema } });
        members.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    if let Some(Value::Object(responses)) = members.get_mut("responses") {
        for response in responses.values_mut() {
            operation.complete_success(response, samples);
        }
        responses.extend(operation.failures());
    }
}

impl Operation<'_> {
    /// Headers of every answer.
    fn headers(&self) -> Vec<&'static str> {
        if self.about.key == "none" {
            return vec!["X-Request-Id"];
        }
        vec!["X-Request-Id", "RateLimit-Policy", "RateLimit"]
    }

    fn takes(&self, parameter: &str) -> bool {
        self.about.parameters.iter().any(|known| known == parameter)
    }

    /// Those of the path, those it names, and those that all have.
    fn parameters(&self) -> Value {
        let of_path = self.path.split(['{', '}']).skip(1).step_by(2);
        let mut names: Vec<&str> = of_path.collect();
        names.extend(self.about.parameters.iter().map(String::as_str));
        if self.is_write {
            names.push("Idempotency-Key");
        }
        names.push("X-Request-Id");
        names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).collect()
    }

    fn complete_success(&self, response: &mut Value, samples: &Value) {
        let mut headers = self.headers();
        if self.is_write || self.takes("If-None-Match") {
            headers.push("ETag");
        }
        if self.is_write {
            headers.push("Idempotent-Replayed");
        }
        if self.takes("cursor") {
            headers.push("Link");
        }
        if self.takes("after") {
            headers.push("X-Next-Cursor");
        }
        insert(response, "", json!({ "headers": references(&headers) }));
        for (_, content) in members(response, "/content") {
            if let Some(example) = content.get("schema").and_then(|schema| examples::of(schema, samples)) {
                insert(content, "", json!({ "example": example }));
            }
        }
    }

    /// Every way in which it can fail, by status.
    fn failures(&self) -> Map<String, Value> {
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self.codes() {
            by_status.entry(code.status().as_u16()).or_default().push(code);
        }
        let headers = self.headers();
        let of_status = |(status, codes): (u16, Vec<Code>)| (status.to_string(), failure(&codes, &headers));
        let mut failures: Map<String, Value> = by_status.into_iter().map(of_status).collect();
        for (status, name) in [("405", "MethodNotAllowed"), ("431", "HeadTooLarge")] {
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            failures.insert(status.to_owned(), reference);
        }
        if self.takes("If-None-Match") {
            let headers = references(&[headers, vec!["ETag"]].concat());
            failures.insert(
                "304".to_owned(),
                json!({ "description": "Nothing has changed", "headers": headers }),
            );
        }
        failures
    }

    fn codes(&self) -> impl Iterator<Item = Code> {
        let named = |code: &Code| self.about.errors.iter().any(|known| known == code.as_str());
        let general = |code: &Code| match code {
            Code::InternalError => true,
            Code::Unauthorized
            | Code::Unavailable
            | Code::Preparing
            | Code::RateLimited
            | Code::Overloaded => self.about.key != "none",
            Code::Forbidden => !matches!(self.about.key.as_str(), "none" | "any"),
            Code::NotFound => self.path.contains('{'),
            Code::PreconditionFailed => self.takes("If-Match"),
            Code::ValidationFailed => {
                self.is_write
                    || self.path.contains("_id}")
                    || !self.about.parameters.is_empty()
                    || self.path.contains("_sequence}")
            }
            Code::BodyTooLarge
            | Code::BodyTooSlow
            | Code::BodyUnreadable
            | Code::IdempotencyKeyReused
            | Code::IdempotencyInProgress => self.is_write,
            _ => false,
        };
        Code::ALL.iter().filter(move |code| general(code) || named(code)).copied()
    }
}

fn references(headers: &[&str]) -> Map<String, Value> {
    let reference =
        |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    headers.iter().map(reference).collect()
}

/// A status, and the errors that have it, with these headers among others.
fn failure(codes: &[Code], headers: &[&'static str]) -> Value {
    let meanings: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let mut headers = headers.to_vec();
    if codes
        .iter()
        .any(|code| matches!(code.status().as_u16(), 429 | 503) || *code == Code::IdempotencyInProgress)
    {
        headers.push("Retry-After");
    }
    if codes.contains(&Code::PreconditionFailed) {
        headers.push("ETag");
    }
    let examples = |form: fn(Code) -> Value| -> Map<String, Value> {
        codes.iter().map(|code| (code.as_str().to_owned(), json!({ "value": form(*code) }))).collect()
    };
    json!({
        "description": meanings.join("; "),
        "headers": references(&headers),
        "content": {
            "application/json": {
                "schema": { "$ref": "#/components/schemas/Error" }, "examples": examples(examples::error),
            },
            "application/problem+json": {
                "schema": { "$ref": "#/components/schemas/Problem" }, "examples": examples(examples::problem),
            },
        },
    })
}

/// Published clients write the collections of identities and tunnels with a slash at the end.
fn spell_collections_both_ways(document: &mut Value) {
    let Some(Value::Object(paths)) = document.pointer_mut("/paths") else { return };
    for path in ["/api/v1/identities", "/api/v1/tunnels"] {
        let Some(mut item) = paths.get(path).cloned() else { continue };
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
            let id = format!("{id}_with_slash");
            insert(operation, "", json!({ "operationId": id }));
        }
        paths.insert(format!("{path}/"), item);
    }
}

#[cfg(test)]
mod tests;
