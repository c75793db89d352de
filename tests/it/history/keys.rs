//! Keys that may read history, and that an auditor key may do nothing else.

use std::io::{BufRead as _, BufReader};

use identityd::operator::{Operator, Purpose};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{sequences, types, with_a_past};
use crate::harness::{NOBODY, World, text, wait};

const HISTORY: [&str; 5] = [
    "/events",
    "/identities/alpha/events",
    "/identities/alpha?as_of=sequence:1",
    "/events?agent_handle=alpha",
    "/log/key",
];

#[test]
fn an_auditor_reads_history_and_can_look_at_its_own_key() {
    let world = with_a_past();
    let auditor = world.auditor();
    for path in HISTORY {
        auditor.get(path).must_be(200);
    }
    assert!(!auditor.lines("/events").is_empty());
    let moment = text(&auditor.events("event_type=identity.created")[0]["recorded_at"]);
    assert_eq!(auditor.get(&format!("/identities?as_of={moment}")).ok()[0]["agent_handle"], "alpha");
    let own = auditor.get("/api-keys/self").ok();
    assert_eq!((&own["scope"], &own["scoped_identity_id"]), (&json!("auditor"), &Value::Null));
    let whoami = auditor.get("/api/whoami").ok();
    assert_eq!(whoami["auth_type"], "api_key");
    assert_eq!(whoami["auth_subtype"], "api_key.auditor_scoped");
    assert!(auditor.client().whoami().is_ok(), "published clients take the subtype as it is");
}

#[test]
fn an_auditor_can_do_nothing_else() {
    let world = with_a_past();
    let auditor = world.auditor();
    let nobody = |path: &str| path.replace("{}", NOBODY);
    let requests = [
        (Method::GET, nobody("/identities")),
        (Method::GET, nobody("/identities/")),
        (Method::POST, nobody("/identities")),
        (Method::GET, nobody("/identities/alpha")),
        (Method::GET, nobody("/identities/nobody")),
        (Method::PATCH, nobody("/identities/alpha")),
        (Method::DELETE, nobody("/identities/alpha")),
        (Method::GET, nobody("/identities/alpha/access")),
        (Method::POST, nobody("/identities/alpha/access")),
        (Method::DELETE, nobody("/identities/alpha/access/{}")),
        (Method::DELETE, nobody("/identities/alpha/phone_number")),
        (Method::GET, nobody("/phone/numbers")),
        (Method::POST, nobody("/phone/numbers")),
        (Method::GET, nobody("/phone/numbers/{}")),
        (Method::PATCH, nobody("/phone/numbers/{}")),
        (Method::DELETE, nobody("/phone/numbers/{}")),
        (Method::GET, nobody("/tunnels")),
        (Method::GET, nobody("/tunnels/{}")),
        (Method::PATCH, nobody("/tunnels/{}")),
        (Method::GET, nobody("/mail/mailboxes")),
        (Method::GET, nobody("/mail/mailboxes/alpha")),
        (Method::PATCH, nobody("/mail/mailboxes/alpha")),
        (Method::GET, nobody("/api-keys")),
        (Method::POST, nobody("/api-keys")),
        (Method::POST, nobody("/api-keys/ApiKey_{}/rotate")),
        (Method::DELETE, nobody("/api-keys/ApiKey_{}")),
        (Method::GET, nobody("/vault/secrets")),
        (Method::POST, nobody("/vault/secrets")),
        (Method::DELETE, nobody("/vault/secrets/{}")),
        (Method::GET, nobody("/vault/secrets/{}/access")),
        (Method::POST, nobody("/vault/secrets/{}/access")),
        (Method::DELETE, nobody("/vault/secrets/{}/access/{}")),
    ];
    for (method, path) in requests {
        let ask = || auditor.call(method.clone(), &path).json(&json!({"agent_handle": "alpha"}));
        world.stores_nothing(|| ask().send().refused(403));
        world.stores_nothing(|| ask().header("Idempotency-Key", "k").send().refused(403));
    }
}

#[test]
fn an_agent_reads_no_history() {
    let world = with_a_past();
    let alpha = world.agent("alpha");
    let others = [
        "/identities?as_of=2020-01-01T00:00:00Z",
        "/identities/nobody/events",
        "/log/key",
        "/events?limit=x",
    ];
    for path in HISTORY.into_iter().chain(others) {
        alpha.get(path).refused(403);
    }
}

#[test]
fn nobody_reads_history_without_a_good_key() {
    let world = with_a_past();
    let minted = world.admin().mint_auditor();
    let auditor = world.holder_of(&text(&minted["api_key"]));
    auditor.get("/events").must_be(200);
    world.admin().delete(&format!("/api-keys/{}", text(&minted["record"]["id"]))).no_content();
    for path in HISTORY {
        auditor.get(path).refused(401);
        world.stranger().get(path).refused(401);
        let [revoked, unknown] =
            [&auditor, &world.stranger()].map(|caller| caller.get(path).without_request_id());
        assert_eq!(revoked, unknown, "a key that was good once opens no more than none");
    }
}

#[test]
fn a_key_that_is_revoked_while_it_follows_sees_nothing_of_what_comes() {
    let world = with_a_past();
    let minted = world.admin().mint_auditor();
    let auditor = world.holder_of(&text(&minted["api_key"]));
    let known = sequences(&world.admin().events("")).len();
    let call = auditor.call(Method::GET, "/events").header("Accept", "text/event-stream");
    let mut stream = BufReader::new(call.open().unwrap()).lines();
    let mut seen = stream.by_ref().map(Result::unwrap).filter(|line| line.starts_with("data: "));
    assert_eq!(seen.by_ref().take(known).count(), known);
    world.admin().delete(&format!("/api-keys/{}", text(&minted["record"]["id"]))).no_content();
    world.admin().create("secret");
    let rest: Vec<String> = stream.map_while(Result::ok).filter(|line| !line.is_empty()).collect();
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn another_organization_has_a_history_of_its_own() {
    let world = with_a_past();
    let other = world.other_admin();
    let alpha = world.agent("alpha").id;
    let foreign_cursor = text(&world.admin().get("/events?limit=1").ok()["next"]);
    let seen = other.events("");
    assert_eq!(types(&seen), ["organization.created", "api_key.issued"]);
    assert!(seen.iter().all(|event| event["organization_id"] != world.organization_id()));
    assert!(other.events(&format!("aggregate_id={alpha}")).is_empty());
    for path in
        ["/identities/alpha/events", "/events?agent_handle=alpha", "/identities/alpha?as_of=sequence:1"]
    {
        other.get(path).refused(404);
        let [foreign, unknown] = [path, &path.replace("alpha", "nobody")].map(|path| other.get(path));
        assert_eq!(foreign.without_request_id(), unknown.without_request_id(), "{path}");
    }
    for lines in ["/events", &format!("/events?aggregate_id={alpha}")].map(|path| other.lines(path)) {
        assert!(!lines.contains(world.organization_id()) && !lines.contains(&alpha), "{lines}");
    }
    let now = text(&seen[1]["recorded_at"]);
    assert_eq!(other.get(&format!("/identities?as_of={now}")).ok(), json!([]));
    other.get(&format!("/events?after={foreign_cursor}")).invalid_at(&["query", "after"]);
}

#[test]
fn an_admin_mints_auditors_keys_and_nobody_else_does() {
    let world = World::new();
    let admin = world.admin();
    let alpha = world.agent("alpha");
    let bound = json!({"label": "a", "scope": "auditor", "scoped_identity_id": alpha.id});
    world.stores_nothing(|| admin.post("/api-keys", &bound).invalid_at(&["body", "scoped_identity_id"]));
    let wanted = json!({"label": "a", "scope": "auditor"});
    world.stores_nothing(|| alpha.post("/api-keys", &wanted).refused(403));
    let admins = json!({"label": "a", "scope": "admin"});
    world.stores_nothing(|| admin.post("/api-keys", &admins).refused(403));
    let unknown = json!({"label": "a", "scope": "owner"});
    world.stores_nothing(|| admin.post("/api-keys", &unknown).invalid_at(&["body", "scope"]));
    let minted = admin.mint_auditor();
    assert_eq!(minted["record"]["scope"], "auditor");
    let event = admin.events("event_type=api_key.issued").pop().unwrap();
    assert_eq!(event["payload"]["scope"], json!({"kind": "auditor"}));
    assert_eq!(admin.list("/api-keys")[0]["scope"], "auditor");
}

#[test]
fn the_operator_issues_auditors_keys_too() {
    let world = World::new();
    let operator = Operator::new(world.database().pool().clone(), world.database().signing());
    let issued = wait(operator.issue_key(world.organization_id(), "audit", Purpose::Auditor)).unwrap();
    let auditor = world.holder_of(issued.api_key.expose_secret());
    assert_eq!(auditor.events("").len(), 3);
    auditor.get("/identities").refused(403);
}
