//! What is written with every event: its moment, its actor, and the hash over all of it.

use identity_domain::identity::Update;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::types::Json;

use super::*;
use crate::harness::World;

/// RFC 8785 for envelopes, which have no fractions, and whose members have ASCII names.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", json!(name), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Number(number) => number.as_i64().expect("a whole number").to_string(),
        Value::String(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

/// The columns of each event, with moments formatted by Postgres, and its leaf hash.
fn sealed(history: &History) -> Vec<(Value, Vec<u8>)> {
    let query =
        "select *, to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as moment
                 from events order by position";
    let rows = wait(sqlx::query(query).fetch_all(history.database.pool())).unwrap();
    let text = |row: &sqlx::postgres::PgRow, column: &str| row.get::<String, _>(column);
    let envelope = |row: &sqlx::postgres::PgRow| {
        json!({
            "organization_id": text(row, "organization_id"),
            "organization_sequence": row.get::<i64, _>("organization_sequence"),
            "aggregate_type": text(row, "aggregate_type"),
            "aggregate_id": text(row, "aggregate_id"),
            "sequence": row.get::<i64, _>("sequence"),
            "event_type": text(row, "event_type"),
            "event_version": text(row, "event_version"),
            "recorded_at": text(row, "moment"),
            "payload": row.get::<Json<Value>, _>("payload").0,
            "metadata": row.get::<Json<Value>, _>("metadata").0,
        })
    };
    rows.iter().map(|row| (envelope(row), row.get("leaf_hash"))).collect()
}

#[test]
fn every_event_is_sealed_by_the_hash_over_its_envelope() {
    let history = History::new();
    let [desk, secret] = [ids::mint(), ids::mint()];
    history.append(create(desk, "harbor-desk"));
    history.append(describe(desk, "é ☎ 𝄞 \"quoted\" \\ / \u{8}\t\n\u{c}\r\u{1} \u{7f} \u{2028}"));
    history.append(update(desk, Update { display_name: Some(None), ..Update::default() }));
    history.append(of_organization("org_øther", register(secret, "")));
    let metadata = r#"{"b": 1e400, "a": 12345678901234567890}"#.to_owned();
    history.append(ask_identity(desk, IdentityCommand::ReplaceTunnelMetadata { metadata }));
    let sealed = sealed(&history);
    assert_eq!(sealed.len(), 5);
    for (envelope, seal) in sealed {
        let canonical = canonical(&envelope);
        // Postgres computes the hash, so that no code under test takes part in it.
        let hash = sqlx::query_scalar("select sha256('\\x00'::bytea || convert_to($1, 'UTF8'))");
        let hash: Vec<u8> = wait(hash.bind(&canonical).fetch_one(history.database.pool())).unwrap();
        assert_eq!(seal, hash, "{canonical}");
    }
}

#[test]
fn every_command_has_a_moment_of_its_own_and_they_ascend_with_the_position() {
    let history = History::new();
    let [desk, next] = [ids::mint(), ids::mint()];
    let wish = Update {
        description: Some(None),
        imessage_enabled: Some(true),
        display_name: Some(None),
        ..Update::default()
    };
    let answers = history.in_one_batch([
        create(desk, "harbor-desk"),
        update(desk, wish),
        create(next, "front-desk"),
        delete(next),
    ]);
    history.append(describe(desk, "later"));
    let events = history.events();
    for command in answers {
        let events = command.unwrap().events;
        assert!(events.iter().all(|recorded| recorded.recorded_at == events[0].recorded_at));
    }
    for pair in events.windows(2) {
        let [earlier, later] = [&pair[0], &pair[1]];
        let same_command = earlier.aggregate_id == later.aggregate_id
            && earlier.event.name() == "identity.display_name_changed";
        let ascends = earlier.recorded_at < later.recorded_at;
        assert_eq!(ascends, !same_command, "{earlier:?} {later:?}");
    }
}

#[test]
fn a_moment_is_never_before_the_last_one_even_when_the_clock_is() {
    let history = History::new();
    let desk = ids::mint();
    history.append(create(desk, "harbor-desk"));
    history.database.execute("update log_head set recorded_at = now() + interval '1 day'");
    let first = history.append(describe(desk, "tomorrow"));
    let second = history.append(describe(desk, "after that"));
    let [first, second] = [first, second].map(|committed| committed.events[0].recorded_at);
    assert_eq!(second - first, time::Duration::MICROSECOND);
    let ahead = "select count(*) from events where recorded_at > now() + interval '23 hours'";
    assert_eq!(history.database.number(ahead), 2);
}

#[test]
fn every_event_says_who_did_it_in_which_request_with_which_software() {
    let history = History::new();
    let [desk, admin, agent] = [ids::mint(), ids::mint_random(), ids::mint_random()];
    let as_actor =
        |actor, request: &str, append| Append { metadata: Metadata::new(&actor, request), ..append };
    let software = concat!("identityd/", env!("CARGO_PKG_VERSION"));
    let _ = history.in_one_batch([
        as_actor(Actor::AdminKey(admin), "req_1", create(desk, "harbor-desk")),
        as_actor(Actor::AgentKey { key: agent, identity: desk }, "req_2", describe(desk, "by itself")),
        as_actor(Actor::Operator, "req_3", delete(desk)),
    ]);
    let expected = [
        json!({"actor": format!("ApiKey_{admin}"), "actor_kind": "admin_key", "request_id": "req_1", "software": software}),
        json!({"actor": format!("ApiKey_{agent}"), "actor_kind": "agent_key", "request_id": "req_2", "software": software}),
        json!({"actor": "operator", "actor_kind": "operator", "request_id": "req_3", "software": software}),
    ];
    let found: Vec<Value> =
        sealed(&history).into_iter().map(|(envelope, _)| envelope["metadata"].clone()).collect();
    assert_eq!(found, expected);
}

#[test]
fn no_event_of_the_service_lacks_its_metadata() {
    let world = World::new();
    let [alpha, bravo] = world.agents(["alpha-desk", "bravo-desk"]);
    world.admin().patch("/identities/alpha-desk", &json!({"description": "by the admin"})).ok();
    alpha.patch("/identities/alpha-desk", &json!({"description": "by itself"})).ok();
    world.admin().delete("/identities/bravo-desk").no_content();
    let lacking = "select count(*) from events
                   where not metadata ?& array['actor', 'actor_kind', 'request_id', 'software']
                      or metadata->>'request_id' = ''";
    assert_eq!(world.database().number(lacking), 0);
    let actors = |actor: &str, kind: &str| {
        let query =
            "select count(*) from events where metadata->>'actor' = '{}' and metadata->>'actor_kind' = '{}'";
        world.database().number(&query.replacen("{}", actor, 1).replacen("{}", kind, 1))
    };
    assert_eq!(actors("operator", "operator"), 2, "an organization and its first key");
    assert_eq!(actors(&alpha.key_id, "agent_key"), 1);
    assert_eq!(actors(&bravo.key_id, "agent_key"), 0);
    assert_eq!(world.events(), 2 + 4 + 3);
}
