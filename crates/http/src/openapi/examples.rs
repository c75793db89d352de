//! Examples of what is answered, each of which fits its shape.

use serde_json::{Value, json};

use super::{insert, members};
use crate::code::Code;

const IDENTITY: &str = "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01";
const MAILBOX: &str = "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a02";
const TUNNEL: &str = "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a03";
const OTHER: &str = "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a04";
const ORGANIZATION: &str = "org_0b0f6a3e5c1b4d0e";
const KEY: &str = "ApiKey_67e166e4-7b0c-4a57-9a57-0d7c4d3b1a11";
const MOMENT: &str = "2026-01-02T03:04:05.678901Z";
const HASH: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

/// Gives an example to every shape that is answered.
pub(super) fn add(document: &mut Value) {
    let examples = [("Identity", identity()), ("Health", json!({ "status": "ok" }))]
        .into_iter()
        .chain(belongings())
        .chain(keys_and_secrets())
        .chain(history());
    let examples: Vec<(&str, Value)> = examples.collect();
    for (name, schema) in members(document, "/components/schemas") {
        if let Some((_, example)) = examples.iter().find(|(known, _)| known == name) {
            insert(schema, "", json!({ "examples": [example] }));
        }
    }
}

/// The example of a shape: its own, or a list of that of its elements.
pub(super) fn of(schema: &Value, schemas: &Value) -> Option<Value> {
    if let Some(items) = schema.get("items") {
        return of(items, schemas).map(|example| json!([example]));
    }
    let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
    schemas.get(name)?.get("examples")?.get(0).cloned()
}

/// An error as published clients know it.
pub(super) fn error(code: Code) -> Value {
    with_common(code, json!({ "detail": detail(code) }))
}

/// The same by RFC 9457.
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
        "",
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

fn identity() -> Value {
    json!({
        "id": IDENTITY, "organization_id": ORGANIZATION, "agent_handle": "harbor-desk", "display_name": "harbor-desk",
        "description": null, "email_address": "harbor-desk@agents.localhost", "imessage_enabled": false,
        "imessage_filter_mode": "blacklist", "mail_filter_mode": "blacklist", "phone_filter_mode": "blacklist",
        "signing_key_configured": false, "signing_key_created_at": null, "status": "active",
        "created_at": MOMENT, "updated_at": MOMENT, "mailbox": mailbox(), "phone_number": null,
        "imessage_number": null, "tunnel": tunnel(), "access": [],
    })
}

fn mailbox() -> Value {
    json!({
        "id": MAILBOX, "email_address": "harbor-desk@agents.localhost", "sending_domain": "agents.localhost",
        "filter_mode": "blacklist", "agent_identity_id": IDENTITY, "filter_mode_change_notice": null,
        "created_at": MOMENT, "updated_at": MOMENT,
    })
}

fn tunnel() -> Value {
    json!({
        "id": TUNNEL, "tunnel_name": "harbor-desk", "agent_identity_id": IDENTITY, "tls_mode": "edge",
        "status": "active", "public_host": "harbor-desk.tunnels.localhost", "zone": "tunnels.localhost",
        "created_at": MOMENT, "updated_at": MOMENT,
    })
}

fn belongings() -> Vec<(&'static str, Value)> {
    let mut full_mailbox = mailbox();
    insert(&mut full_mailbox, "", json!({ "storage_used_bytes": 0, "storage_limit_bytes": null }));
    let mut full_tunnel = tunnel();
    let of_connection = json!({
        "organization_id": ORGANIZATION, "cert_pem": null, "cert_fingerprint_sha256": null, "cert_expires_at": null,
        "last_connected_at": null, "last_connected_ip_addr": null, "last_disconnected_at": null,
        "currently_connected": false, "metadata": { "region": "eu" },
    });
    insert(&mut full_tunnel, "", of_connection);
    let phone = json!({
        "id": OTHER, "number": "+12125550100", "type": "local", "status": "active", "sms_status": "ready",
        "sms_error_code": null, "sms_error_detail": null, "sms_ready_at": MOMENT, "incoming_call_action": "auto_reject",
        "client_websocket_url": null, "incoming_call_webhook_url": null, "filter_mode": "blacklist", "state": "NY",
        "agent_identity_id": IDENTITY, "filter_mode_change_notice": null, "created_at": MOMENT, "updated_at": MOMENT,
    });
    let row = json!({ "id": OTHER, "target_identity_id": IDENTITY, "viewer_identity_id": null, "created_at": MOMENT });
    vec![
        ("FullMailbox", full_mailbox),
        ("TunnelList", json!({ "tunnels": [full_tunnel.clone()] })),
        ("Tunnel", full_tunnel),
        ("PhoneNumber", phone),
        ("AccessRow", row),
    ]
}

fn keys_and_secrets() -> Vec<(&'static str, Value)> {
    let key = json!({
        "id": KEY, "organization_id": ORGANIZATION, "created_by": "operator", "creator_type": "human",
        "scope": "agent", "scoped_identity_id": IDENTITY, "label": "night watch", "description": null,
        "status": "active", "last4": "x7Qz", "display_prefix": "ApiKey_67e166e4", "last_used_at": null,
        "expires_at": null, "revoked_at": null, "created_at": MOMENT, "updated_at": MOMENT,
    });
    let whoami = json!({
        "auth_type": "api_key", "auth_subtype": "api_key.admin_scoped", "organization_id": ORGANIZATION,
        "created_by": "operator", "creator_type": "human", "key_id": KEY, "label": "first", "description": null,
        "created_at": MOMENT, "last_used_at": null, "expires_at": null, "scope": null, "scoped_identity_id": null,
    });
    let rule =
        json!({ "id": OTHER, "vault_secret_id": TUNNEL, "identity_id": IDENTITY, "created_at": MOMENT });
    let secret = json!({
        "id": TUNNEL, "name": "mail relay", "secret_type": "login", "description": null, "access": [rule.clone()],
        "created_at": MOMENT, "updated_at": MOMENT,
    });
    vec![
        ("CreatedApiKey", json!({ "api_key": format!("{KEY}.…"), "record": key.clone() })),
        ("ApiKey", key),
        ("Whoami", whoami),
        ("VaultAccessRule", rule),
        ("VaultSecret", secret),
    ]
}

fn history() -> Vec<(&'static str, Value)> {
    let event = json!({
        "organization_id": ORGANIZATION, "organization_sequence": 7, "aggregate_type": "identity",
        "aggregate_id": IDENTITY, "sequence": 2, "event_type": "identity.display_name_changed", "event_version": "1",
        "recorded_at": MOMENT,
        "payload": { "type": "identity.display_name_changed", "display_name": "Harbor desk" },
        "metadata": { "actor": KEY, "actor_kind": "admin_key", "request_id": "r-1", "software": "identityd/0.1.0" },
    });
    let cloud_event = json!({
        "specversion": "1.0", "id": "7", "source": format!("/organizations/{ORGANIZATION}"),
        "type": "identity.display_name_changed", "subject": format!("identity/{IDENTITY}"),
        "datacontenttype": "application/json", "time": MOMENT, "data": event.clone(),
    });
    let inclusion = json!({
        "organization_sequence": 7, "leaf_index": 6, "leaf_hash": HASH, "size": 8, "root_hash": HASH, "hashes": [HASH],
    });
    vec![
        ("EventPage", json!({ "events": [event.clone()], "next": null })),
        ("Event", event),
        ("CloudEvent", cloud_event),
        ("InclusionProof", inclusion),
        ("ConsistencyProof", json!({ "from": 7, "to": 8, "hashes": [HASH] })),
    ]
}
