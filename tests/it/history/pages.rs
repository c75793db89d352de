//! Pages of history: every event once, in order, with its canonical JSON; and cursors, which are valid for one history
//! only.

use identity_http::cursor::{self, HistoryPlace};
use reqwest::Method;
use serde_json::{Value, json};

use super::{sequences, with_a_past};
use crate::harness::{Database, World, text};

const MEMBERS: [&str; 10] = [
    "organization_id",
    "organization_sequence",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "recorded_at",
    "payload",
    "metadata",
];

#[test]
fn pages_of_any_size_show_every_event_once_and_in_order() {
    let world = with_a_past();
    let auditor = world.auditor();
    let all = auditor.events("");
    assert_eq!(sequences(&all), (1..=world.events()).collect::<Vec<_>>());
    for limit in [1, 2, 3, all.len() - 1, all.len(), all.len() + 1] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = auditor.get(&format!("/events?limit={limit}{after}")).ok();
            let events = page["events"].as_array().unwrap();
            assert!((1..=limit).contains(&events.len()), "{} of {limit}", events.len());
            seen.extend(events.iter().cloned());
            assert!(seen.len() <= all.len(), "pages repeat themselves");
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
}

// An event is answered with exactly the JSON over which its leaf hash was computed.
#[test]
fn an_event_is_shown_as_it_was_hashed() {
    let world = with_a_past();
    let auditor = world.auditor();
    for event in auditor.events("") {
        let hash = identity_proof::leaf::of(&event).unwrap();
        let matching = format!(
            "select count(*) from events where organization_sequence = {} and encode(leaf_hash, 'base64') = '{hash}'",
            event["organization_sequence"]
        );
        assert_eq!(world.database().number(&matching), 1, "{event}");
    }
    let body = String::from_utf8(auditor.get("/events?limit=1").bytes).unwrap();
    let places: Vec<usize> = MEMBERS.iter().map(|name| body.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "the members come in the order of the documents");
    assert!(!body.contains("position"), "positions in the whole log are nobody's business");
}

#[test]
fn an_event_says_who_did_it() {
    let world = with_a_past();
    let auditor = world.auditor();
    let alpha = world.agent("alpha");
    let described = auditor.events("event_type=identity.description_changed").pop().unwrap();
    assert_eq!(described["metadata"]["actor"], json!(alpha.key_id));
    assert_eq!(described["metadata"]["actor_kind"], "agent_key");
    assert_eq!(described["payload"]["description"], "it's \"quoted\"\n\u{e9}");
}

#[test]
fn a_page_has_a_hundred_events_unless_the_client_says() {
    let world = World::new();
    let admin = world.admin();
    admin.create("alpha");
    for number in 0..110 {
        admin.change("alpha", &json!({"display_name": format!("{number}")})).ok();
    }
    let page = admin.get("/events").ok();
    assert_eq!(page["events"].as_array().unwrap().len(), 100);
    let rest = admin.get(&format!("/events?after={}", text(&page["next"]))).ok();
    assert_eq!((rest["events"].as_array().unwrap().len(), &rest["next"]), (13, &Value::Null));
}

#[test]
fn what_is_no_cursor_of_this_history_is_refused() {
    let world = with_a_past();
    let auditor = world.auditor();
    let good = text(&auditor.get("/events?limit=2").ok()["next"]);
    assert_eq!(sequences(&auditor.events(&format!("after={good}")))[0], 3);
    let mangled = good.replacen("0002", "0003", 1);
    let foreign =
        cursor::encode("org_of_somebody_else", HistoryPlace { sequence: 2, ..HistoryPlace::default() });
    for cursor in [&mangled, &foreign, "", "2", "%00", &good[1..]] {
        auditor.get(&format!("/events?after={cursor}")).invalid_at(&["query", "after"]);
    }
    let end = world.cursor(world.events());
    assert!(auditor.events(&format!("after={end}")).is_empty());
}

/// A backup is restored, and other events are written in place of those that are lost. A client that went on after a
/// lost event would keep events that never were, and miss others.
#[test]
fn a_cursor_of_a_history_that_was_set_back_is_refused() {
    let world = with_a_past();
    world.database().back_up();
    let kept = world.cursor(world.events());
    world.admin().create("lost-one");
    world.admin().create("lost-two");
    let [lost, end] = [world.cursor(world.events() - 1), world.cursor(world.events())];
    let world = world.restarted_after(Database::restore);
    let admin = world.admin();
    for written in ["found-one", "found-two", "found-three"] {
        for cursor in [&lost, &end] {
            for accept in ["application/json", "application/cloudevents-batch+json", "application/x-ndjson"] {
                let call =
                    admin.call(Method::GET, &format!("/events?after={cursor}")).header("Accept", accept);
                assert_eq!(call.send().must_be(409).json()["code"], "history_changed");
            }
            let call = admin.call(Method::GET, "/events").header("Accept", "text/event-stream");
            let told = call.header("Last-Event-ID", cursor).open().unwrap().text().unwrap();
            assert_eq!(
                told,
                "retry: 1000\n\nevent: history_changed\nid\ndata: {\"code\":\"history_changed\"}\n\n"
            );
        }
        admin.create(written);
    }
    assert_eq!(admin.events(&format!("after={kept}")).len(), 3);
    assert_eq!(
        admin.events(&format!("after={}", world.cursor(0))).len(),
        usize::try_from(world.events()).unwrap()
    );
}

#[test]
fn parameters_that_make_no_sense_are_named() {
    let world = with_a_past();
    let auditor = world.auditor();
    let faults = [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=", "limit"),
        ("since=yesterday", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("agent_handle=a", "agent_handle"),
        ("event_typ=identity.created", "event_typ"),
        (&"event_type=x&".repeat(101), "event_type"),
    ];
    for (query, name) in faults {
        auditor.get(&format!("/events?{query}")).invalid_at(&["query", name]);
    }
}
