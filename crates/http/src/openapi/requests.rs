//! The shapes of what is sent, for the document alone: bodies are read field by field (see [`crate::form`]), and say more
//! than a type can. Members that a request does not know are ignored, unless its shape says otherwise.

use serde_json::{Value, json};

/// Text without NUL, which Postgres cannot hold.
const NO_NUL: &str = "^[^\\u0000]*$";
const HANDLE: &str = "^[A-Za-z0-9](-?[A-Za-z0-9])*$";
const WEBSOCKET: &str = "^wss://[A-Za-z0-9][!-~]*$";
const WEBHOOK: &str = "^https://[A-Za-z0-9][!-~]*$";

/// Every body, by name.
pub(super) fn bodies() -> Value {
    json!({
        "CreateIdentity": create_identity(),
        "UpdateIdentity": update_identity(),
        "GrantAccess": object(&[], json!({
            "viewer_identity_id": nullable_id("Who may see; everybody if null or absent"),
        }), json!({ "viewer_identity_id": null })),
        "PhoneWish": { "oneOf": phone_choices(&json!({
            "type": { "enum": ["local", null], "description": "Always `local`" },
            "state": { "type": ["string", "null"], "pattern": "^[A-Za-z]{2}$", "description": "A US state; any if absent" },
        }), &[]), "examples": [{ "state": "NY" }] },
        "ProvisionPhoneNumber": { "oneOf": phone_choices(&json!({
            "agent_handle": handle("Whose it becomes, for life"),
            "type": { "enum": ["local", null], "description": "Always `local`" },
            "state": { "type": ["string", "null"], "pattern": "^[A-Za-z]{2}$", "description": "A US state; any if absent" },
            "filter_mode": { "enum": ["whitelist", "blacklist", null], "description": "`blacklist` if absent; for admins" },
        }), &["agent_handle"]), "examples": [{ "agent_handle": "harbor-desk", "state": "NY" }] },
        "UpdatePhoneNumber": update_phone_number(),
        "UpdateTunnel": closed(object(&[], json!({
            "metadata": {
                "type": ["object", "null"],
                "description": "Any object of at most 4096 bytes as compact JSON, and without NUL; null empties it",
            },
        }), json!({ "metadata": { "region": "eu" } }))),
        "UpdateMailbox": closed(object(&[], json!({
            "filter_mode": filter_mode("Filter mode"),
        }), json!({ "filter_mode": "whitelist" }))),
        "CreateApiKey": create_api_key(),
        "RegisterVaultSecret": object(&["name"], json!({
            "name": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": NO_NUL, "description": "What it is called" },
            "secret_type": {
                "enum": ["api_key", "key_pair", "login", "ssh_key", "other", null],
                "description": "What it holds; `other` if absent",
            },
            "description": description(),
        }), json!({ "name": "mail relay", "secret_type": "login" })),
        "GrantVaultAccess": object(&["identity_id"], json!({
            "identity_id": { "type": "string", "format": "uuid", "description": "Who may use it" },
        }), json!({ "identity_id": "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01" })),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "literals are handed over")]
fn object(required: &[&str], properties: Value, example: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "examples": [example] })
}

/// Members that it does not know are refused.
fn closed(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    object
}

fn handle(description: &str) -> Value {
    json!({
        "type": "string", "minLength": 3, "maxLength": 63, "pattern": HANDLE,
        "description": format!(
            "{description}. Letters, digits and single hyphens; upper case is folded, and one `@` at the beginning dropped"
        ),
    })
}

fn nullable_id(description: &str) -> Value {
    json!({ "type": ["string", "null"], "format": "uuid", "description": description })
}

fn filter_mode(description: &str) -> Value {
    json!({ "enum": ["whitelist", "blacklist"], "description": description })
}

fn display_name() -> Value {
    json!({
        "type": ["string", "null"], "maxLength": 255, "pattern": NO_NUL,
        "description": "The handle if absent at creation; null clears it in an update",
    })
}

fn description() -> Value {
    json!({
        "type": ["string", "null"], "maxLength": 10000, "pattern": NO_NUL,
        "description": "At most 10,000 characters, unless the service is set otherwise; an empty text is not null",
    })
}

fn boolean(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// There are no such numbers yet, so asking for one is always in vain.
fn imessage_number_type() -> Value {
    json!({
        "type": "null",
        "description": "`dedicated_inbound` or `dedicated_outbound` are known, and answered with 503 \
                        `dedicated_imessage_number_inventory_pending`: there are no such numbers yet, so nothing but null \
                        is of use",
    })
}

fn create_identity() -> Value {
    let secrets = json!({
        "description": "Vault secrets that it may use: one id, several, or all that there are",
        "oneOf": [
            { "type": "string", "format": "uuid" },
            { "type": "array", "items": { "type": "string", "format": "uuid" } },
            { "enum": ["*", "all", null] },
        ],
    });
    let example = json!({ "agent_handle": "harbor-desk", "description": "answers the door" });
    object(
        &["agent_handle"],
        json!({
            "agent_handle": handle("Globally unique"),
            "display_name": display_name(),
            "description": description(),
            "imessage_enabled": boolean("Whether it is reachable over iMessage; false if absent"),
            "imessage_number_type": imessage_number_type(),
            "mailbox": {
                "type": ["object", "null"],
                "description": "Wishes for the mailbox; on the platform's domain, the only one there is, nothing can be chosen",
                "properties": {
                    "email_local_part": { "type": "null", "description": "The handle, or absent" },
                    "sending_domain": { "type": "null", "description": "The platform's domain, or absent" },
                },
            },
            "tunnel": {
                "type": ["object", "null"],
                "description": "Wishes for the tunnel",
                "properties": {
                    "tls_mode": {
                        "enum": ["edge", "passthrough", null],
                        "description": "Who terminates TLS, once and for all; the edge if absent",
                    },
                },
            },
            "phone_number": {
                "description": "A phone number, if one is wanted",
                "oneOf": [{ "$ref": "#/components/schemas/PhoneWish" }, { "type": "null" }],
            },
            "vault_secret_ids": secrets,
        }),
        example,
    )
}

fn update_identity() -> Value {
    object(
        &[],
        json!({
            "agent_handle": handle("The new handle; the old one is nobody's at once"),
            "display_name": display_name(),
            "description": description(),
            "imessage_enabled": boolean("Whether it is reachable over iMessage"),
            "imessage_filter_mode": filter_mode("Filter mode of iMessage; for admins"),
            "mail_filter_mode": filter_mode("Filter mode of mail; for admins"),
            "phone_filter_mode": filter_mode("Filter mode of the phone; for admins; 422 without a phone number"),
            "status": { "enum": ["active", "paused"], "description": "For admins" },
            "imessage_number_id": nullable_id("A dedicated iMessage number; there are none yet, so any is not found"),
            "imessage_number_type": imessage_number_type(),
        }),
        json!({ "display_name": "Harbor desk", "status": "paused" }),
    )
}

/// What happens to calls, and the address that it needs.
fn phone_choices(others: &Value, required: &[&str]) -> Vec<Value> {
    let url = |scheme: &str, pattern: &str, needed: bool| {
        json!({
            "type": if needed { json!("string") } else { json!(["string", "null"]) },
            "maxLength": 2048, "pattern": pattern, "description": format!("A {scheme} address"),
        })
    };
    let choice = |actions: Value, needed: &[&str]| {
        let mut properties = others.clone();
        if let Some(members) = properties.as_object_mut() {
            let websocket = needed.contains(&"client_websocket_url");
            let webhook = needed.contains(&"incoming_call_webhook_url");
            members.insert("incoming_call_action".to_owned(), json!({ "enum": actions }));
            members.insert("client_websocket_url".to_owned(), url("wss://", WEBSOCKET, websocket));
            members.insert("incoming_call_webhook_url".to_owned(), url("https://", WEBHOOK, webhook));
        }
        let required = [required, needed].concat();
        json!({ "type": "object", "required": required, "properties": properties })
    };
    vec![
        choice(json!(["auto_reject", "hosted_agent", null]), &[]),
        choice(json!(["auto_accept"]), &["incoming_call_action", "client_websocket_url"]),
        choice(json!(["webhook"]), &["incoming_call_action", "incoming_call_webhook_url"]),
    ]
}

fn update_phone_number() -> Value {
    let url = |scheme: &str, pattern: &str| {
        json!({
            "type": ["string", "null"], "maxLength": 2048, "pattern": pattern,
            "description": format!("A {scheme} address; null clears it"),
        })
    };
    object(
        &[],
        json!({
            "incoming_call_action": {
                "enum": ["auto_accept", "auto_reject", "webhook", "hosted_agent"],
                "description": "What happens to incoming calls. `auto_accept` needs a `client_websocket_url` and `webhook` an \
                                `incoming_call_webhook_url`, given now or earlier; 422 otherwise",
            },
            "client_websocket_url": url("wss://", WEBSOCKET),
            "incoming_call_webhook_url": url("https://", WEBHOOK),
            "filter_mode": filter_mode("Filter mode; for admins"),
        }),
        json!({ "incoming_call_action": "webhook", "incoming_call_webhook_url": "https://example.com/calls" }),
    )
}

fn create_api_key() -> Value {
    let choice = |required: &[&str], scope: Value, identity: Value| {
        json!({
            "type": "object",
            "required": required,
            "properties": {
                "label": {
                    "type": "string", "minLength": 1, "maxLength": 255, "pattern": NO_NUL,
                    "description": "What it is called",
                },
                "description": {
                    "type": ["string", "null"], "maxLength": 1000, "pattern": NO_NUL, "description": "What it is for",
                },
                "scope": scope,
                "scoped_identity_id": identity,
            },
        })
    };
    let agent = json!({ "enum": ["agent", null], "description": "`agent` if absent" });
    let auditor = json!({ "enum": ["auditor"], "description": "Reads history, and nothing else" });
    json!({
        "description": "A key for an identity, or one for auditing. Admin keys come from the operator alone",
        "oneOf": [
            choice(&["label"], agent, nullable_id("The identity it acts as; 403 without one")),
            choice(&["label", "scope"], auditor, json!({ "type": "null" })),
        ],
        "examples": [{ "label": "night watch", "scoped_identity_id": "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01" }],
    })
}

/// Every parameter, by name.
pub(super) fn parameters() -> Value {
    let id = |what: &str| parameter("path", what, json!({ "type": "string", "format": "uuid" }));
    let moment = |what: &str| parameter("query", what, json!({ "type": "string", "format": "date-time" }));
    let text = |what: &str, schema: Value| parameter("query", what, schema);
    // What every client can count to: above, JavaScript skips numbers.
    let sequence =
        json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": 9_007_199_254_740_991_i64 });
    let names = json!({ "type": "array", "items": { "type": "string" }, "maxItems": 100 });
    let mut parameters = json!({
        "agent_handle": parameter("path", "The handle; upper case is folded, and one `@` at the beginning dropped",
            json!({ "type": "string", "minLength": 1 })),
        "viewer_identity_id": id("The viewer's identity"),
        "phone_number_id": id("The number's id"),
        "tunnel_id": id("The tunnel's id"),
        "secret_id": id("The secret's id"),
        "identity_id": id("The identity's id"),
        "email_address": parameter("path", "The whole address or its local part, in any case", json!({ "type": "string", "minLength": 1 })),
        "api_key_id": parameter("path", "The key's id", json!({ "type": "string", "minLength": 1 })),
        "organization_sequence": parameter("path", "The event's place in the organization's history: 1, 2, 3 …",
            json!({ "type": "string", "pattern": "^[1-9][0-9]{0,15}$" })),
        "limit": text("At most so many: a page, and a link to the next", json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
        "cursor": text("Where to go on, as the link of a page says; needs the same filters", json!({ "type": "string" })),
        "status": text("Only those of this status", json!({ "enum": ["active", "paused"] })),
        "handle_prefix": text("Only those whose handle begins so", json!({ "type": "string", "pattern": NO_NUL })),
        "created_after": moment("Only those that were created later"),
        "created_before": moment("Only those that were created earlier"),
        "q": text("Only those whose handle or display name has this in it, in whatever case", json!({ "type": "string", "pattern": NO_NUL })),
        "as_of": moment("As it was at this moment; for admins and auditors, and with no other parameter"),
        "as_of_version": text("As it was at this moment, or right after its own event of this sequence; for admins and auditors",
            json!({ "anyOf": [
                { "type": "string", "format": "date-time" }, { "type": "string", "pattern": "^sequence:[1-9][0-9]{0,17}$" },
            ] })),
        "after": text("Only what comes after this cursor, as a page or a live stream had it", json!({ "type": "string" })),
        "events_of": text("Only of identities that ever had this handle", handle("A handle")),
        "aggregate_id": text("Only of these, by id", names.clone()),
        "event_type": text("Only events of these types", names),
        "since": moment("Only what happened at this moment or later"),
        "until": moment("Only what happened at this moment or earlier"),
        "size": text("Among the first so many; all that are signed if absent", sequence.clone()),
        "from": text("The size of the older tree", sequence.clone()),
        "to": text("The size of the newer tree; all that is signed if absent", sequence),
        "Idempotency-Key": parameter("header", "Makes it safe to send again: done once, answered with status, body and tag of the first time",
            json!({ "type": "string", "pattern": "^[!-~]{1,255}$" })),
        "If-Match": parameter("header", "An `ETag`: refused with 412 if what is written to has changed since", json!({ "type": "string" })),
        "If-None-Match": parameter("header", "An `ETag`: answered with 304 if nothing has changed since", json!({ "type": "string" })),
        "X-Request-Id": parameter("header", "1 to 128 visible ASCII characters that name the request in answer, log and history; \
            anything else is replaced", json!({ "type": "string" })),
        "Last-Event-ID": parameter("header", "The cursor of the last event of a live stream that broke off", json!({ "type": "string" })),
    });
    name(&mut parameters);
    parameters
}

#[expect(clippy::needless_pass_by_value, reason = "literals are handed over")]
fn parameter(place: &str, description: &str, schema: Value) -> Value {
    json!({ "name": "", "in": place, "required": place == "path", "description": description, "schema": schema })
}

/// Names parameters as they are called; two that differ in their shape share a name.
fn name(parameters: &mut Value) {
    for (key, parameter) in parameters.as_object_mut().into_iter().flatten() {
        let name = match key.as_str() {
            "as_of_version" => "as_of",
            "events_of" => "agent_handle",
            name => name,
        };
        if let Some(member) = parameter.get_mut("name") {
            *member = name.into();
        }
    }
    if let Some(required) = parameters.pointer_mut("/from/required") {
        *required = Value::Bool(true);
    }
}
