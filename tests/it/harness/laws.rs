//! Rules for every answer of the service. Each answer of each test is checked against them.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::Answer;
use super::document;

/// Members that may be missing but are never null: a published client fails if one of them is null.
const NEVER_NULL: [&str; 24] = [
    "access",
    "agent_handle",
    "contact_sharing_enabled",
    "country",
    "created_at",
    "filter_mode",
    "imessage_enabled",
    "imessage_filter_mode",
    "inbound_filter_mode",
    "mail_filter_mode",
    "mail_inbound_filter_mode",
    "mail_outbound_filter_mode",
    "outbound_filter_mode",
    "phone_filter_mode",
    "phone_inbound_filter_mode",
    "phone_outbound_filter_mode",
    "public_host",
    "sending_domain",
    "signature_enabled",
    "signing_key_configured",
    "sms_status",
    "storage_used_bytes",
    "updated_at",
    "zone",
];

/// Members with a fixed set of values, which the published clients know.
const SPELLINGS: [(&str, &[&str]); 16] = [
    ("filter_mode", &["whitelist", "blacklist"]),
    ("inbound_filter_mode", &["whitelist", "blacklist"]),
    ("outbound_filter_mode", &["whitelist", "blacklist"]),
    ("mail_inbound_filter_mode", &["whitelist", "blacklist"]),
    ("mail_outbound_filter_mode", &["whitelist", "blacklist"]),
    ("phone_inbound_filter_mode", &["whitelist", "blacklist"]),
    ("phone_outbound_filter_mode", &["whitelist", "blacklist"]),
    ("forwarding_target_type", &["phone", "sip"]),
    ("country", &["US"]),
    ("imessage_filter_mode", &["whitelist", "blacklist"]),
    ("mail_filter_mode", &["whitelist", "blacklist"]),
    ("phone_filter_mode", &["whitelist", "blacklist"]),
    ("sms_status", &["pending", "ready", "assignment_failed"]),
    ("tls_mode", &["edge", "passthrough"]),
    ("incoming_call_action", &["auto_accept", "auto_reject", "webhook", "hosted_agent", "forward"]),
    ("creator_type", &["human", "agent"]),
];

/// Members that an identity always has, null or not, since one client or another requires them.
const IDENTITY: [&str; 23] = [
    "id",
    "organization_id",
    "agent_handle",
    "display_name",
    "description",
    "email_address",
    "imessage_enabled",
    "contact_sharing_enabled",
    "imessage_filter_mode",
    "mail_filter_mode",
    "mail_inbound_filter_mode",
    "mail_outbound_filter_mode",
    "phone_filter_mode",
    "signing_key_configured",
    "signing_key_created_at",
    "status",
    "created_at",
    "updated_at",
    "mailbox",
    "phone_number",
    "imessage_number",
    "tunnel",
    "access",
];

/// Checks an answer against all rules.
#[track_caller]
pub(super) fn hold(answer: &Answer) {
    document::hold(answer);
    // 304 is no redirect: it answers a request with `If-None-Match`.
    assert!(answer.status == 304 || !(300..400).contains(&answer.status), "{answer} redirects");
    assert!(answer.status < 500 || answer.status == 503, "{answer} blames the service");
    assert!(!answer.headers.contains_key("set-cookie"), "{answer} sets a cookie");
    hold_caching(answer);
    let says_when = answer.headers.contains_key("retry-after");
    assert!(answer.status != 503 || says_when, "{answer} does not say when to come again");
    if answer.what.starts_with("HEAD ") {
        return assert!(answer.bytes.is_empty(), "{answer} has a body");
    }
    if answer.bytes.is_empty() {
        // Besides 204 and 304, only invalid HTTP is answered without a body: the server library refuses it.
        assert!(matches!(answer.status, 204 | 304 | 400 | 414 | 431), "{answer} is empty");
        return;
    }
    let content_type = answer.headers.get("content-type").map(String::as_str).unwrap_or_default();
    if content_type == "application/problem+json" {
        assert!(answer.status >= 400 && answer.detail().is_string(), "{answer} is no problem of RFC 9457");
        return;
    }
    if answer.status == 200 && content_type == "application/cloudevents-batch+json" {
        assert!(answer.json().is_array(), "{answer} is no batch");
        return;
    }
    if answer.status == 200 && answer.bytes.starts_with(b"identityd/") {
        // Signed notes and verifier keys are text, as C2SP defines it.
        assert_eq!(content_type, "text/plain; charset=utf-8", "{answer}");
        return;
    }
    if answer.status == 200 && content_type == "application/x-ndjson" {
        // The tests that ask for lines of JSON read them themselves.
        return;
    }
    assert!(content_type.starts_with("application/json"), "{answer} has content type {content_type:?}");
    if answer.status < 400 {
        hold_body(answer, &answer.json());
    } else {
        hold_error(answer, &answer.detail());
    }
}

/// No HTTP cache may store an answer, or give it to another key.
#[track_caller]
fn hold_caching(answer: &Answer) {
    if answer.status == 401 {
        assert!(answer.headers.contains_key("www-authenticate"), "{answer} does not say how to authenticate");
    }
    // The server library refuses invalid HTTP, without our headers.
    let is_no_request = answer.bytes.is_empty() && matches!(answer.status, 400 | 414 | 431);
    let Some((_, path)) = answer.what.split_once(' ').filter(|(_, path)| path.starts_with("/api")) else {
        return;
    };
    if is_no_request || path.contains("://") {
        return;
    }
    let header = |name: &str| answer.headers.get(name).cloned().unwrap_or_default();
    assert_eq!(header("cache-control"), "no-store", "{answer} may be kept by a cache");
    assert!(header("vary").contains("x-api-key"), "{answer} does not vary by key: {:?}", header("vary"));
}

/// Bodies by URL and entity tag.
type BodiesByTag = HashMap<(String, String), Vec<u8>>;

/// Bodies by URL and strong entity tag, of all answers to reads of all tests.
static TAGGED: LazyLock<Mutex<BodiesByTag>> = LazyLock::new(Mutex::default);

/// Two answers of one URL with the same strong entity tag have the same bytes, whoever asks.
#[track_caller]
pub(super) fn hold_tag(url: &str, answer: &Answer) {
    let Some(tag) = answer.headers.get("etag").filter(|tag| !tag.starts_with("W/")) else { return };
    if answer.status != 200 || !answer.what.starts_with("GET ") {
        return;
    }
    let key = (url.to_owned(), tag.clone());
    let mut tagged = TAGGED.lock().unwrap_or_else(PoisonError::into_inner);
    let first = tagged.entry(key).or_insert_with(|| answer.bytes.clone());
    assert_eq!(*first, answer.bytes, "{answer}: one tag for different bodies");
}

#[track_caller]
fn hold_error(answer: &Answer, detail: &Value) {
    let well_formed = match detail {
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => members.contains_key("code") || members.contains_key("error"),
        Value::Array(faults) => answer.status == 422 && !faults.is_empty() && faults.iter().all(is_fault),
        _ => false,
    };
    assert!(well_formed, "{answer} has a detail of no known shape");
    assert!(answer.status != 422 || detail.is_array(), "{answer} does not list what is wrong");
}

fn is_fault(fault: &Value) -> bool {
    fault["type"].is_string()
        && fault["msg"].as_str().is_some_and(|text| !text.is_empty())
        && fault["loc"]
            .as_array()
            .is_some_and(|steps| steps.iter().all(|step| step.is_string() || step.is_u64()))
        && fault.get("input").is_some()
}

/// Checks all members of a body, at every depth. `metadata` is skipped, since the caller chose its members.
#[track_caller]
fn hold_body(answer: &Answer, body: &Value) {
    match body {
        Value::Array(elements) => elements.iter().for_each(|element| hold_body(answer, element)),
        Value::Object(members) => {
            // The status of a signing key that does not exist has null in `created_at`. Contract, section 10.2.
            let is_absent = members.get("configured").is_some_and(|configured| configured == false);
            let is_held = |name: &str| name != "metadata" && !(is_absent && name == "created_at");
            for (name, value) in members.iter().filter(|(name, _)| is_held(name)) {
                hold_member(answer, name, value);
                hold_body(answer, value);
            }
            if members.contains_key("mail_filter_mode") {
                hold_identity(answer, body);
            }
        }
        _ => {}
    }
}

#[track_caller]
fn hold_member(answer: &Answer, name: &str, value: &Value) {
    assert!(!(value.is_null() && NEVER_NULL.contains(&name)), "{answer} has null in {name}");
    if let Some((_, spellings)) = SPELLINGS.iter().find(|(known, _)| *known == name) {
        let known = value.is_null() || value.as_str().is_some_and(|text| spellings.contains(&text));
        assert!(known, "{answer} has {value} in {name}");
    }
    if name.ends_with("_at") && !value.is_null() {
        let parsed = value.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        assert!(parsed.is_some(), "{answer} has {value} in {name}");
    }
}

/// Checks an identity: it has its mailbox and its tunnel, and a fact that the body has twice is the same in both places.
#[track_caller]
fn hold_identity(answer: &Answer, identity: &Value) {
    for name in IDENTITY {
        assert!(identity.get(name).is_some(), "{answer} lacks {name}");
    }
    let same = |left: &str, right: &str| {
        let (left_value, right_value) = (identity.pointer(left), identity.pointer(right));
        assert_eq!(left_value, right_value, "{answer}: {left} and {right} are one fact");
    };
    same("/mailbox/agent_identity_id", "/id");
    same("/mailbox/email_address", "/email_address");
    same("/mailbox/filter_mode", "/mail_filter_mode");
    same("/tunnel/agent_identity_id", "/id");
    same("/tunnel/tunnel_name", "/agent_handle");
    if !identity["phone_number"].is_null() {
        same("/phone_number/agent_identity_id", "/id");
        same("/phone_number/filter_mode", "/phone_filter_mode");
    }
    let text =
        |pointer: &str| identity.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    assert_eq!(
        text("/tunnel/public_host"),
        format!("{}.{}", text("/agent_handle"), text("/tunnel/zone")),
        "{answer}"
    );
    assert!(text("/email_address").ends_with(&format!("@{}", text("/mailbox/sending_domain"))), "{answer}");
    assert!(!text("/organization_id").is_empty(), "{answer}");
    assert!(identity["access"].is_array(), "{answer}");
}
