//! The forms in which history is answered, and how a client notices that an answer is incomplete.

use std::io::Read as _;

use identity_proof::Checkpoint;
use reqwest::Method;
use serde_json::{Value, json};

use super::{sequences, with_a_past};
use crate::harness::text;

fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_are_the_whole_history_and_a_trailer() {
    let world = with_a_past();
    let auditor = world.auditor();
    let all = auditor.events("");
    let mut lines = parsed(&auditor.lines("/events"));
    let trailer = lines.pop().unwrap()["trailer"].clone();
    assert_eq!(lines, all);
    assert_eq!((&trailer["count"], &trailer["first"]), (&json!(all.len()), &json!(1)));
    assert_eq!(trailer["last"], json!(all.len()));
    let checkpoint = Checkpoint::read(trailer["checkpoint"].as_str().unwrap()).unwrap();
    assert!(checkpoint.size >= all.len() as u64, "{checkpoint:?} does not cover everything");
    let mut members: Vec<&str> = trailer.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let needed = ["after", "checkpoint", "count", "first", "last"];
    assert_eq!(members, needed, "a whole history needs no proofs of its parts: {trailer}");
}

#[test]
fn a_line_has_its_leaf_hash_if_that_is_asked_for() {
    let world = with_a_past();
    let auditor = world.auditor();
    let mut lines = parsed(&auditor.lines("/events?leaf_hashes=true&event_type=identity.created"));
    lines.pop();
    for line in &mut lines {
        let stated = line.as_object_mut().unwrap().remove("leaf_hash").unwrap();
        assert_eq!(stated, identity_proof::leaf::of(line).unwrap().to_string());
    }
    assert_eq!(lines, auditor.events("event_type=identity.created"));
    assert_eq!(auditor.lines("/events?leaf_hashes=false"), auditor.lines("/events"));
    auditor.get("/events?leaf_hashes=true").invalid_at(&["query", "leaf_hashes"]);
    let nonsense = "/events?leaf_hashes=perhaps";
    auditor.accepting("application/x-ndjson", nonsense).invalid_at(&["query", "leaf_hashes"]);
}

#[test]
fn lines_are_filtered_as_pages_are() {
    let world = with_a_past();
    let auditor = world.auditor();
    let mut lines = parsed(&auditor.lines("/identities/bravo/events"));
    let trailer = lines.pop().unwrap()["trailer"].clone();
    assert_eq!(lines, auditor.events_of("bravo"));
    assert_eq!((&trailer["count"], &trailer["filtered"]), (&json!(2), &json!(true)));
    assert_eq!(
        vec![trailer["first"].as_i64().unwrap(), trailer["last"].as_i64().unwrap()],
        sequences(&lines)
    );
    let after = text(&auditor.get("/events?limit=3").ok()["next"]);
    let rest = parsed(&auditor.lines(&format!("/events?after={after}")));
    assert_eq!(rest[0]["organization_sequence"], 4);
    let none = parsed(&auditor.lines("/events?event_type=identity.exploded"));
    assert_eq!(none[0]["trailer"]["count"], 0);
    assert_eq!((&none[0]["trailer"]["first"], &none[0]["trailer"]["last"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_whole_range_has_no_pages() {
    let world = with_a_past();
    let auditor = world.auditor();
    auditor.accepting("application/x-ndjson", "/events?limit=5").invalid_at(&["query", "limit"]);
    auditor.accepting("text/event-stream", "/events?limit=5").invalid_at(&["query", "limit"]);
    let until = "/events?until=2999-01-01T00:00:00Z";
    auditor.accepting("text/event-stream", until).invalid_at(&["query", "until"]);
}

#[test]
fn lines_that_were_cut_off_anywhere_have_no_trailer() {
    let world = with_a_past();
    let lines = world.auditor().lines("/events");
    let is_whole = |text: &str| {
        let last = text.lines().next_back().and_then(|line| serde_json::from_str::<Value>(line).ok());
        text.ends_with('\n') && last.is_some_and(|line| line.get("trailer").is_some())
    };
    assert!(is_whole(&lines));
    let cuts = (0..lines.len()).filter(|cut| lines.is_char_boundary(*cut));
    assert!(cuts.map(|cut| &lines[..cut]).all(|cut| !is_whole(cut)));
}

// An unreadable row is found after the status was sent. The service can only break the connection, perhaps before the
// client has read the status.
#[test]
fn a_failure_in_the_middle_is_no_end() {
    let world = with_a_past();
    let auditor = world.auditor();
    world.database().execute("alter table events disable trigger all");
    world.database().execute("update events set recorded_at = 'infinity' where organization_sequence = 6");
    let call = auditor.call(Method::GET, "/events").header("Accept", "application/x-ndjson");
    let mut received = Vec::new();
    if let Ok(mut answer) = call.open() {
        assert_eq!(answer.status(), 200);
        answer.read_to_end(&mut received).unwrap_err();
    }
    assert!(!String::from_utf8(received).unwrap().contains("trailer"));
}

#[test]
fn a_client_notices_that_the_network_was_cut() {
    let world = with_a_past();
    let whole = world.auditor().lines("/events").len();
    for bytes in [600, whole / 2, whole - 1] {
        let auditor = world.auditor().over_a_cable_cut_after(bytes);
        let call = auditor.call(Method::GET, "/events").header("Accept", "application/x-ndjson");
        let mut received = Vec::new();
        call.open().unwrap().read_to_end(&mut received).unwrap_err();
        assert!(!String::from_utf8_lossy(&received).contains("trailer"), "cut after {bytes} bytes");
    }
}

#[test]
fn cloud_events_carry_the_envelope() {
    let world = with_a_past();
    let auditor = world.auditor();
    let answer = auditor.accepting("application/cloudevents-batch+json", "/events?limit=4");
    assert_eq!(answer.headers["content-type"], "application/cloudevents-batch+json");
    let next = answer.headers["x-next-cursor"].clone();
    let batch = answer.ok();
    let all = auditor.events("");
    for (event, envelope) in batch.as_array().unwrap().iter().zip(&all) {
        let expected = json!({
            "specversion": "1.0",
            "id": envelope["organization_sequence"].to_string(),
            "source": format!("/organizations/{}", world.organization_id()),
            "type": envelope["event_type"],
            "subject": format!("{}/{}", text(&envelope["aggregate_type"]), text(&envelope["aggregate_id"])),
            "datacontenttype": "application/json",
            "time": envelope["recorded_at"],
            "data": envelope,
        });
        assert_eq!(event, &expected);
    }
    assert_eq!(batch.as_array().unwrap().len(), 4);
    let rest = auditor.accepting("application/cloudevents-batch+json", &format!("/events?after={next}"));
    assert!(!rest.headers.contains_key("x-next-cursor"));
    assert_eq!(rest.ok().as_array().unwrap().len(), all.len() - 4);
}
