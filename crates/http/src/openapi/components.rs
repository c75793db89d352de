//! The components that many operations share: path parameters, headers, tags, and how a key is sent.

use serde_json::{Value, json};

use super::failure;
use crate::code::Code;

/// Everything that operations refer to, except schemas.
pub(super) fn all() -> Value {
    json!({
        "parameters": parameters(),
        "headers": headers(),
        "responses": responses(),
        "securitySchemes": { "ApiKey": {
            "type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "`ApiKey_<uuid>.<secret>`, of an admin, an agent or an auditor",
        } },
    })
}

/// The groups of operations, in the order in which they are shown.
pub(super) fn tags() -> Value {
    json!([
        { "name": "Identities", "description": "The agents of an organization" },
        { "name": "Visibility", "description": "Which identities an agent may see" },
        { "name": "Directory", "description": "The identities that a key may see, in the form of newer clients" },
        { "name": "Phone numbers", "description": "Each identity has at most one at a time" },
        { "name": "iMessage", "description": "Dedicated iMessage numbers; this service has none" },
        { "name": "Tunnels", "description": "Created and deleted with their identities" },
        { "name": "Mailboxes", "description": "Created and deleted with their identities" },
        { "name": "API keys", "description": "API keys of an organization, and the caller's own key" },
        { "name": "Signing keys", "description": "The keys that sign the webhooks of identities" },
        { "name": "Webhooks", "description": "Addresses to which events of identities are sent" },
        { "name": "Vault", "description": "Encrypted secrets, the keys that open them, and who may use them" },
        { "name": "History", "description": "Every event, and the proof of it; for admins and auditors" },
        { "name": "Operation", "description": "For operators of the service; without a key" },
    ])
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = |description: &str| header(description, json!({ "type": "string" }));
    json!({
        "X-Request-Id": text("Names the request in the log and in history"),
        "ETag": text("The version, for `If-None-Match` and, unless it is the tag of a list, for `If-Match`"),
        "Link": text("The next page, relative to the address of the request, with `rel=\"next\"` (RFC 8288); absent on the last"),
        "X-Next-Cursor": text("The cursor of the next page of CloudEvents"),
        "Retry-After": header("After how many seconds to send the request again", json!({ "type": "integer" })),
        "Idempotent-Replayed": header("Present when the answer is that of an earlier request", json!({ "const": "true" })),
        "Inkbox-Notices": text("Settings that were stored and have no effect: a JSON array of `{code, level, message}`; absent if there are none"),
        "Allow": text("The methods that the path serves"),
        "RateLimit-Policy": text("The quotas that bind the key, where there are any: `q` requests in `w` seconds"),
        "RateLimit": text("What is left of them: `r` requests, and all of them again in `t` seconds"),
    })
}

/// The answers that any request may get, whatever its path.
fn responses() -> Value {
    json!({
        "MethodNotAllowed": failure(&[Code::MethodNotAllowed], &["X-Request-Id", "Allow"]),
        "HeadTooLarge": {
            "description": "The head of the request is larger than 64 KiB, or has more than 100 lines; without a body",
        },
    })
}

fn parameters() -> Value {
    let text = |name: &str, description: &str| {
        path_parameter(name, description, json!({ "type": "string", "minLength": 1 }))
    };
    let id = |name: &str, description: &str| {
        path_parameter(name, description, json!({ "type": "string", "format": "uuid" }))
    };
    let sequence = json!({ "type": "string", "pattern": "^[1-9][0-9]{0,15}$" });
    let any = || json!({ "type": "string" });
    let parameters = [
        text("agent_handle", "The handle; upper case is folded, and one `@` at the beginning dropped"),
        text("email_address", "The whole address or its local part, in any case"),
        text("api_key_id", "The key's id"),
        text("auth_hash", "The hash of a vault key"),
        id("viewer_identity_id", "The viewer's identity"),
        id("phone_number_id", "The number's id"),
        id("tunnel_id", "The tunnel's id"),
        id("secret_id", "The secret's id"),
        id("subscription_id", "The subscription's id"),
        id("delivery_id", "The delivery's id"),
        id("endpoint_id", "The log endpoint's id"),
        id("identity_id", "The identity's id"),
        path_parameter(
            "organization_sequence",
            "The event's place in the organization's history: 1, 2, 3 …",
            sequence,
        ),
        header(
            "Idempotency-Key",
            "Makes it safe to repeat the request: it is carried out once, and a repetition gets status, body and tag of the first answer",
            json!({ "type": "string", "pattern": "^[!-~]{1,255}$" }),
        ),
        header(
            "If-Match",
            "An `ETag`: the write is refused with 412 if the resource has changed since",
            any(),
        ),
        header("If-None-Match", "An `ETag`: answered with 304 if nothing has changed since", any()),
        header(
            "X-Request-Id",
            "1 to 128 visible ASCII characters that name the request in answer, log and history; anything \
            else is replaced",
            any(),
        ),
        header("Last-Event-ID", "The cursor of the last event of a live stream that broke off", any()),
    ];
    parameters.into_iter().collect::<serde_json::Map<_, _>>().into()
}

fn path_parameter(name: &str, description: &str, schema: Value) -> (String, Value) {
    parameter("path", name, description, schema)
}

fn header(name: &str, description: &str, schema: Value) -> (String, Value) {
    parameter("header", name, description, schema)
}

#[expect(clippy::needless_pass_by_value, reason = "literals are handed over")]
fn parameter(place: &str, name: &str, description: &str, schema: Value) -> (String, Value) {
    let parameter = json!({ "name": name, "in": place, "required": place == "path", "description": description, "schema": schema });
    (name.to_owned(), parameter)
}
