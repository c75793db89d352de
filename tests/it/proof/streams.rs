//! History as the service streams it, verified as a file: while others write, after tampering, and cut off.

use std::fs;
use std::io::Read as _;
use std::thread;

use identity_proof::Checkpoint;
use identityd::audit::export::{self, Range};
use identityd::audit::form::Lines;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{file, sign, verifier_key, verify, with_a_history};
use crate::harness::{Caller, World, text, wait};

/// A stream of the service, as a file.
fn streamed(world: &World, path: &str) -> NamedTempFile {
    answered(&world.auditor(), path)
}

/// The same with the key of `caller`. Issuing a new key would add an event.
fn answered(caller: &Caller, path: &str) -> NamedTempFile {
    let call = caller.call(Method::GET, path).header("Accept", "application/x-ndjson");
    file(call.open().unwrap().error_for_status().unwrap().bytes().unwrap())
}

#[test]
fn what_the_service_streams_is_verified_to_its_last_event() {
    let world = with_a_history();
    for path in ["/events", "/events?leaf_hashes=true"] {
        let report = verify(streamed(&world, path), &verifier_key(&world), None).unwrap();
        assert_eq!(report.last, u64::try_from(world.events()).ok());
        assert_eq!((report.proved, &report.unproved), (report.events, &vec![]), "{path}");
    }
}

/// The checkpoint is signed while the events are being sent, and covers events that were committed meanwhile.
#[test]
fn what_is_streamed_while_others_write_goes_to_the_end_of_its_checkpoint() {
    let world = with_a_history();
    let (admin, writer, key) = (world.admin(), world.admin(), verifier_key(&world));
    let writing = thread::spawn(move || {
        for number in 0..200 {
            writer.change("bravo", &json!({"display_name": format!("{number}")})).ok();
        }
    });
    while !writing.is_finished() {
        let report = verify(answered(&admin, "/events"), &key, None).unwrap();
        assert_eq!((report.proved, report.checkpoint.size), (report.events, report.events));
    }
    writing.join().unwrap();
}

#[test]
fn a_part_that_the_service_streams_is_proved_to_belong_to_the_whole() {
    let world = with_a_history();
    let auditor = world.auditor();
    let events = auditor.get("/events").ok()["events"].clone();
    let moment = |sequence: usize| text(&events[sequence - 1]["recorded_at"]);
    let ranges = [
        (format!("since={}", moment(4)), 4, world.events()),
        (format!("until={}", moment(8)), 1, 8),
        (format!("since={}&until={}", moment(4), moment(8)), 4, 8),
    ];
    for (range, first, last) in ranges {
        let report =
            verify(streamed(&world, &format!("/events?{range}")), &verifier_key(&world), None).unwrap();
        // Each request issues an auditor's key, which is an event.
        let last = if range.contains("until") { last } else { world.events() };
        assert_eq!(report.first.zip(report.last), u64::try_from(first).ok().zip(u64::try_from(last).ok()));
        assert_eq!((report.proved, &report.unproved), (report.events, &vec![]), "{range}");
    }
}

#[test]
fn a_change_in_the_database_is_named_from_what_the_service_streams() {
    let world = with_a_history();
    sign(&world);
    world.database().execute(
        "do $$ begin
             set local session_replication_role = replica;
             update events set payload = replace(payload::text, 'tea, not', 'tea, nou')::jsonb
             where organization_sequence = 6;
         end $$",
    );
    let fault =
        verify(streamed(&world, "/events?leaf_hashes=true"), &verifier_key(&world), None).unwrap_err();
    assert_eq!((fault.line, fault.sequence), (Some(6), Some(6)));
    let fault = verify(streamed(&world, "/events"), &verifier_key(&world), None).unwrap_err();
    assert!(fault.what.ends_with("are not those that were signed"), "{fault}");
}

/// Somebody who changes an event can also change its leaf hash, but not the signed one.
#[test]
fn a_change_with_the_leaf_hash_that_fits_it_is_named_from_what_the_service_streams() {
    let world = with_a_history();
    sign(&world);
    let admin = world.admin();
    let changed = "set local session_replication_role = replica;
         update events set payload = replace(payload::text, 'tea, not', 'tea, nou')::jsonb
         where organization_sequence = 6";
    world.database().execute(&format!("do $$ begin {changed}; end $$"));
    let line = fs::read_to_string(answered(&admin, "/events")).unwrap().lines().nth(5).unwrap().to_owned();
    let leaf = identity_proof::leaf::of(&serde_json::from_str::<Value>(&line).unwrap()).unwrap();
    let fits =
        format!("update events set leaf_hash = decode('{leaf}', 'base64') where organization_sequence = 6");
    world.database().execute(&format!("do $$ begin {changed}; {fits}; end $$"));
    let after = world.cursor(3);
    for (after, line) in [(String::new(), 6), (format!("&after={after}"), 3)] {
        let streamed = answered(&admin, &format!("/events?leaf_hashes=true{after}"));
        let fault = verify(streamed, &verifier_key(&world), None).unwrap_err();
        assert_eq!((fault.line, fault.sequence), (Some(line), Some(6)), "{fault}");
    }
    let chosen = answered(&admin, "/events?leaf_hashes=true&event_type=identity.description_changed");
    let fault = verify(chosen, &verifier_key(&world), None).unwrap_err();
    assert_eq!((fault.line, fault.sequence), (Some(1), Some(6)));
    assert_eq!(fault.what, "event 6 is not the one that was signed");
}

#[test]
fn a_tail_that_was_cut_off_is_named_from_what_the_service_streams() {
    let world = with_a_history();
    let signed = sign(&world).checkpoint.size;
    let auditor = world.admin();
    world.database().execute(&format!(
        "do $$ begin
             set local session_replication_role = replica;
             delete from events where organization_sequence > {0};
             update organization_heads set sequence = {0};
         end $$",
        signed - 2
    ));
    let call = auditor.call(Method::GET, "/events").header("Accept", "application/x-ndjson");
    let fault = verify(file(call.open().unwrap().bytes().unwrap()), &verifier_key(&world), None).unwrap_err();
    assert_eq!(fault.sequence, Some(signed - 1), "{fault}");
}

/// The requested part seems complete, but events that were deleted may have belonged to it, too.
#[test]
fn a_part_of_a_log_that_lost_its_end_is_tied_to_nothing() {
    let world = with_a_history();
    let (admin, key) = (world.admin(), verifier_key(&world));
    let until = text(&admin.get("/events").ok()["events"][7]["recorded_at"]);
    let part = format!("/events?until={until}");
    assert_eq!(verify(answered(&admin, &part), &key, None).unwrap().proved, 8);
    let signed = sign(&world).checkpoint.size;
    world.database().execute(&format!(
        "do $$ begin
             set local session_replication_role = replica;
             delete from events where organization_sequence >= {signed};
         end $$"
    ));
    let fault = verify(answered(&admin, &part), &key, None).unwrap_err();
    let expected = "the trailer has no checkpoint; the service does not sign this log any more: ";
    assert!(fault.what.starts_with(expected), "{fault}");
    let (range, mut nowhere) = (Range { after: 0, until: Some(8) }, Lines(std::io::sink()));
    let (pool, organization_id) = (world.database().pool(), world.organization_id());
    let exporting = export::run(pool, organization_id, &range, None, &mut nowhere, |_, _| ());
    let refused = wait(exporting).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("event {signed} was signed and is missing")), "{refused}");
}

/// The last events are removed, and the trailer is changed accordingly. The checkpoint still has them.
#[test]
fn an_open_end_is_where_the_checkpoint_ends() {
    let world = with_a_history();
    let text = fs::read_to_string(streamed(&world, "/events")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let mut trailer: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    let note = Checkpoint::read(trailer["trailer"]["checkpoint"].as_str().unwrap()).unwrap();
    assert_eq!(trailer["trailer"]["last"], note.size);
    lines.truncate(lines.len() - 2);
    trailer["trailer"]["count"] = Value::from(note.size - 2);
    trailer["trailer"]["last"] = Value::from(note.size - 2);
    let trailer = trailer.to_string();
    lines.push(&trailer);
    let fault = verify(file(lines.join("\n")), &verifier_key(&world), None).unwrap_err();
    assert_eq!(fault.sequence, Some(note.size - 1), "{fault}");
}

#[test]
fn a_range_without_events_accuses_nobody() {
    let world = with_a_history();
    let (admin, key) = (world.admin(), verifier_key(&world));
    let head = world.cursor(world.events());
    let report = verify(answered(&admin, &format!("/events?after={head}")), &key, None).unwrap();
    assert_eq!((report.events, report.after, report.unproved), (0, report.checkpoint.size, vec![]));
    let first = world.cursor(1);
    let nothing = format!("/events?after={first}&until=2000-01-01T00:00:00Z");
    let report = verify(answered(&admin, &nothing), &key, None).unwrap();
    assert_eq!((report.events, report.after), (0, 1));
    assert_eq!(report.unproved[0].what, "that there are no events in this range is not proved");
}

#[test]
fn a_stream_that_the_network_cut_is_refused() {
    let world = with_a_history();
    let auditor = world.auditor().over_a_cable_cut_after(3000);
    let call = auditor.call(Method::GET, "/events").header("Accept", "application/x-ndjson");
    let mut received = Vec::new();
    call.open().unwrap().read_to_end(&mut received).unwrap_err();
    assert!(!received.is_empty());
    let fault = verify(file(received), &verifier_key(&world), None).unwrap_err();
    assert!(fault.what.contains("cut off"), "{fault}");
}

#[test]
fn a_selection_is_not_taken_for_a_history() {
    let world = with_a_history();
    for path in
        ["/events?event_type=identity.created", "/identities/alpha/events", "/events?agent_handle=bravo"]
    {
        let report = verify(streamed(&world, path), &verifier_key(&world), None).unwrap();
        assert!(report.events > 0 && report.proved == 0 && report.absent.is_empty(), "{report:?}");
        assert_eq!((report.unproved[0].line, report.unproved[0].sequence), (Some(1), report.first));
        assert!(report.unproved[0].what.contains("a filter left events out"), "{report:?}");
    }
}
