//! Filters of history: by aggregate, by type, by time, and by the handle of that time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{sequences, types, with_a_past};
use crate::harness::{World, text};

#[test]
fn types_can_be_asked_for_together() {
    let world = with_a_past();
    let auditor = world.auditor();
    let both = auditor.events("event_type=identity.created&event_type=identity.deleted");
    assert_eq!(
        types(&both),
        ["identity.created", "identity.created", "identity.created", "identity.deleted"]
    );
    assert!(auditor.events("event_type=identity.exploded").is_empty());
}

#[test]
fn an_aggregate_has_its_own_history() {
    let world = with_a_past();
    let auditor = world.auditor();
    let alpha = world.agent("alpha");
    let of_alpha = auditor.events(&format!("aggregate_id={}", alpha.id));
    let happened = ["created", "visibility_granted", "description_changed", "phone_provisioned"];
    assert_eq!(types(&of_alpha), happened.map(|name| format!("identity.{name}")));
    let own: Vec<&Value> = of_alpha.iter().map(|event| &event["sequence"]).collect();
    assert_eq!(own, [1, 2, 3, 4]);
    assert_eq!(auditor.events_of("alpha"), of_alpha);
    let both = auditor.events(&format!("aggregate_id={}&aggregate_id={}", alpha.id, world.agent("bravo").id));
    assert_eq!(both.len(), 6);
    assert!(sequences(&both).is_sorted());
    let page = auditor.get(&format!("/events?aggregate_id={}&limit=3", alpha.id)).ok();
    let rest = auditor.events(&format!("aggregate_id={}&after={}", alpha.id, text(&page["next"])));
    assert_eq!(rest, of_alpha[3..]);
}

#[test]
fn filters_are_met_all_at_once() {
    let world = with_a_past();
    let auditor = world.auditor();
    let alpha = world.agent("alpha").id;
    let created = auditor.events(&format!("aggregate_id={alpha}&event_type=identity.created"));
    assert_eq!(created.len(), 1);
    assert_eq!(auditor.events("agent_handle=alpha&event_type=identity.created"), created);
    assert!(auditor.events(&format!("agent_handle=bravo&aggregate_id={alpha}")).is_empty());
}

#[test]
fn both_ends_of_a_time_range_belong_to_it() {
    let world = with_a_past();
    let auditor = world.auditor();
    let all = auditor.events("");
    let at = |place: usize| text(&all[place]["recorded_at"]);
    let last = all.len() - 1;
    assert_eq!(auditor.events(&format!("since={}", at(0))), all);
    assert_eq!(auditor.events(&format!("until={}", at(last))), all);
    assert_eq!(auditor.events(&format!("since={}&until={}", at(3), at(5))), all[3..=5]);
    let just_after = at(3).replace('Z', "1Z");
    assert_eq!(auditor.events(&format!("since={just_after}&until={}", at(5))), all[4..=5]);
    let with_an_offset = at(3).replace('Z', "+00:00");
    assert_eq!(auditor.events(&format!("since={with_an_offset}&until={}", at(3))), all[3..=3]);
    assert!(auditor.events(&format!("since={}&until={}", at(5), at(3))).is_empty());
    assert!(auditor.events("until=2000-01-01T00:00:00Z").is_empty());
    assert!(auditor.events("since=2999-01-01T00:00:00Z").is_empty());
}

#[test]
fn text_that_looks_like_a_statement_is_only_text() {
    let world = with_a_past();
    let auditor = world.auditor();
    for value in ["'", "''", "')%20or%20true--", "\\'", "%27%3Bdrop%20table%20events%3B--", "%00", "$1"] {
        assert!(auditor.events(&format!("event_type={value}")).is_empty(), "{value}");
        assert!(auditor.events(&format!("aggregate_id={value}")).is_empty(), "{value}");
    }
}

#[test]
fn a_handle_that_was_given_up_still_leads_to_its_identity() {
    let world = with_a_past();
    let auditor = world.auditor();
    let bravo = auditor.events(&format!("aggregate_id={}", world.agent("bravo").id));
    for handle in ["bravo", "bravo-2", "@BRAVO"] {
        assert_eq!(auditor.events_of(handle), bravo, "{handle}");
    }
    assert_eq!(types(&auditor.events_of("gone")), ["identity.created", "identity.deleted"]);
    for unknown in ["nobody", "a", "%00", "'"] {
        auditor.get(&format!("/identities/{unknown}/events")).refused(404);
    }
    auditor.get("/events?agent_handle=nobody").refused(404);
}

#[test]
fn a_handle_leads_to_everyone_who_ever_had_it() {
    let world = World::with_name_hold(Duration::ZERO);
    let admin = world.admin();
    let first = text(&admin.create("alpha")["id"]);
    admin.change("alpha", &json!({"agent_handle": "other"})).ok();
    admin.remove("other");
    let second = text(&admin.create("alpha")["id"]);
    let auditor = world.auditor();
    let mut ids: Vec<String> =
        auditor.events_of("alpha").iter().map(|event| text(&event["aggregate_id"])).collect();
    ids.dedup();
    assert_eq!(ids, [first.clone(), second]);
    let of_first = auditor.get(&format!("/identities/alpha/events?aggregate_id={first}")).ok();
    let happened = ["identity.created", "identity.renamed", "identity.deleted"];
    assert_eq!(types(of_first["events"].as_array().unwrap()), happened);
    assert_eq!(auditor.events_of("other").len(), 3);
}

/// With their offsets, these moments lie in a year of UTC that Postgres cannot represent.
#[test]
fn a_moment_in_no_year_of_utc_is_refused() {
    let world = with_a_past();
    let admin = world.admin();
    for moment in ["9999-12-31T23:59:59-01:00", "1970-01-01T00:00:00%2B01:00"] {
        for (path, name) in [
            ("/events", "since"),
            ("/events", "until"),
            ("/identities/alpha/events", "since"),
            ("/identities", "as_of"),
            ("/identities/alpha", "as_of"),
            ("/identities", "created_after"),
            ("/identities", "created_before"),
        ] {
            admin.get(&format!("{path}?{name}={moment}")).invalid_at(&["query", name]);
        }
    }
    let last = admin.events("until=9999-12-31T23:59:59Z");
    assert_eq!(last, admin.events(""));
    assert_eq!(admin.events("since=1970-01-01T00:00:00-01:00"), last);
}
