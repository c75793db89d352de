//! Tampering in the database, with triggers off: each change is found, and the first bad event is named.

use identity_audit::report::Fault;
use identityd::audit::export::Range;
use reqwest::Method;

use super::{export, export_range, file, grow, sign, verifier_key, verify, with_a_history};

/// The error for a history that was signed and then changed.
#[track_caller]
fn caught(statement: &str) -> Fault {
    let world = with_a_history();
    sign(&world);
    let statement = statement.replace("$mine", &format!("organization_id = '{}'", world.organization_id()));
    verify(export(&world), &verifier_key(&world), None).expect("the history was fine before");
    world.database().tamper(&statement);
    verify(export(&world), &verifier_key(&world), None).expect_err(&statement)
}

#[test]
fn an_untouched_history_is_verified() {
    let world = with_a_history();
    let signed = sign(&world);
    let report = verify(export(&world), &verifier_key(&world), Some(&signed)).unwrap();
    assert_eq!(report.checkpoint, signed.checkpoint);
    assert_eq!((report.events, report.first), (signed.checkpoint.size, Some(1)));
    assert_eq!(report.last, Some(signed.checkpoint.size));
    assert_eq!((report.proved, report.unproved, report.absent), (report.events, vec![], vec![]));
}

#[test]
fn a_flipped_byte_of_a_payload_is_caught() {
    let fault = caught(
        "update events set payload = replace(payload::text, 'tea, not', 'tea, nou')::jsonb
         where $mine and organization_sequence = 6",
    );
    assert_eq!((fault.line, fault.sequence), (Some(6), Some(6)));
    assert_eq!(fault.what, "event 6 is not the one that was signed");
}

#[test]
fn another_actor_another_time_another_name_are_caught() {
    for change in [
        "metadata = metadata || '{\"actor\": \"somebody else\"}'",
        "recorded_at = recorded_at + interval '1 microsecond'",
        "event_type = 'renamed'",
        "event_version = '2'",
    ] {
        let fault = caught(&format!("update events set {change} where $mine and organization_sequence = 5"));
        assert_eq!((fault.line, fault.sequence), (Some(5), Some(5)), "{change}");
    }
}

#[test]
fn a_deleted_event_is_caught() {
    let fault = caught("delete from events where $mine and organization_sequence = 4");
    assert_eq!((fault.line, fault.sequence), (Some(4), Some(4)));
    assert_eq!(fault.what, "event 4 is missing, event 5 stands in its place");
}

#[test]
fn a_deleted_event_is_caught_when_the_others_close_the_gap() {
    let fault = caught(
        "delete from events where $mine and organization_sequence = 4;
         update events set organization_sequence = -organization_sequence where $mine and organization_sequence > 4;
         update events set organization_sequence = -organization_sequence - 1 where $mine and organization_sequence < 0",
    );
    assert_eq!(fault.sequence, Some(4));
}

#[test]
fn an_inserted_event_is_caught() {
    let fault = caught(
        "update events set organization_sequence = -organization_sequence where $mine and organization_sequence > 4;
         update events set organization_sequence = 1 - organization_sequence where $mine and organization_sequence < 0;
         insert into events
         select 1000000, organization_id, 5, aggregate_type, gen_random_uuid()::text, sequence, event_type,
                event_version, payload, metadata, recorded_at, leaf_hash
         from events where $mine and organization_sequence = 4",
    );
    assert_eq!((fault.line, fault.sequence), (Some(5), Some(5)));
}

#[test]
fn two_events_that_changed_places_are_caught() {
    let fault = caught(
        "update events set organization_sequence = -organization_sequence
         where $mine and organization_sequence in (4, 5);
         update events set organization_sequence = 9 + organization_sequence
         where $mine and organization_sequence < 0",
    );
    assert_eq!((fault.line, fault.sequence), (Some(4), Some(4)));
}

#[test]
fn a_tail_that_was_cut_off_is_caught() {
    let fault = caught("delete from events where $mine and organization_sequence > 8");
    assert_eq!((fault.line, fault.sequence), (Some(9), Some(9)));
    assert_eq!(fault.what, "event 9 was signed and is missing");
}

#[test]
fn a_change_that_covers_its_tracks_in_every_table_is_caught() {
    let world = with_a_history();
    let signed = sign(&world);
    world.database().tamper(
        "update events set payload = replace(payload::text, 'tea, not', 'tea, nou')::jsonb;
         delete from merkle_tiles",
    );
    let fault = verify(export(&world), &verifier_key(&world), Some(&signed)).unwrap_err();
    assert_eq!(
        fault.what,
        format!("the first {0} events are not those that were signed", signed.checkpoint.size)
    );
}

#[test]
fn a_tail_that_was_cut_off_together_with_its_checkpoints_is_caught_by_an_earlier_one() {
    let world = with_a_history();
    let kept = sign(&world).checkpoint.size;
    grow(&world, ["golf", "hotel"]);
    let signed = sign(&world);
    world.database().tamper(&format!(
        "delete from events where organization_sequence > {kept};
             delete from checkpoints where size > {kept};
             update organization_heads set sequence = {kept}"
    ));
    verify(export(&world), &verifier_key(&world), None).expect("this is a history that was signed once");
    let fault = verify(export(&world), &verifier_key(&world), Some(&signed)).unwrap_err();
    assert_eq!(fault.sequence, Some(kept + 1));
    assert!(fault.what.contains("is missing"), "{fault}");
}

/// The role that serves may change tiles. Then the history is still proved, and no export accuses an event that nobody changed.
#[test]
fn a_changed_tile_accuses_no_event() {
    let world = with_a_history();
    sign(&world);
    world.database().execute(
        "update merkle_tiles set hashes = overlay(hashes placing sha256('x') from 65 for 32) where level = 0",
    );
    let report = verify(export(&world), &verifier_key(&world), None).unwrap();
    assert_eq!((report.proved, report.unproved), (report.events, vec![]));
    let call =
        world.admin().call(Method::GET, "/events?leaf_hashes=true").header("Accept", "application/x-ndjson");
    let streamed = file(call.open().unwrap().error_for_status().unwrap().bytes().unwrap());
    let report = verify(streamed, &verifier_key(&world), None).unwrap();
    assert_eq!(report.proved, report.events);
}

/// The hashes before a part, and the proof behind it, are not those of a changed tile.
#[test]
fn a_changed_tile_beside_a_part_proves_less_and_accuses_nobody() {
    let world = with_a_history();
    sign(&world);
    let verified = || {
        let (part, trailer) = export_range(&world, &Range { after: 2, until: Some(4) });
        (verify(part, &verifier_key(&world), None).unwrap().proved, trailer)
    };
    assert_eq!(verified().0, 2);
    for from in [1, 129] {
        world.database().execute(&format!(
            "update merkle_tiles set hashes = overlay(hashes placing sha256('x') from {from} for 32) where level = 0"
        ));
        let (proved, trailer) = verified();
        assert_eq!((proved, trailer.before.len(), trailer.consistency.len()), (0, 0, 0), "{from}");
    }
}
