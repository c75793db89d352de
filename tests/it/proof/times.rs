//! Checkpoints say when they were signed, and the time never goes back.

use std::time::{SystemTime, UNIX_EPOCH};

use identity_audit::report::{Fault, Report};
use identity_audit::time::utc;
use identity_audit::verify;
use identity_proof::trailer::Trailer;
use identity_proof::{Checkpoint, CosignerKey, SigningKey};
use proptest::prelude::*;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::forged::{ORIGIN, event, key, tree, written};
use super::{export, grow, sign, signer, verifier_key, with_a_history};
use crate::harness::World;

/// Later than any test runs.
const FUTURE: u64 = 4_102_444_800;

fn time_of(world: &World, note: &str) -> Option<u64> {
    let found = signer(world).key().cosigner_key().find(note).unwrap();
    found.map(|cosignature| cosignature.time)
}

#[expect(clippy::disallowed_methods, reason = "the signer reads the clock of this machine, too")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Replaces the note of the last checkpoint, as the owner of the database can.
fn replace_note(world: &World, note: &str) {
    world.database().execute(&format!(
        "do $$ begin
             set local session_replication_role = replica;
             update checkpoints set note = '{note}' where size = (select max(size) from checkpoints
                 where organization_id = '{0}') and organization_id = '{0}';
         end $$",
        world.organization_id()
    ));
}

#[test]
fn a_checkpoint_says_when_it_was_signed() {
    let before = now();
    let world = with_a_history();
    sign(&world);
    let note = String::from_utf8(world.auditor().get("/log/checkpoint").must_be(200).bytes).unwrap();
    // An auditor has the verifier key of the history alone.
    let cosigner = CosignerKey::of_signer(&verifier_key(&world)).unwrap();
    let time = cosigner.find(&note).unwrap().expect("the checkpoint has a time").time;
    assert!((before..=now()).contains(&time), "{time}");
    let report = super::verify(export(&world), &verifier_key(&world), None).unwrap();
    assert_eq!(report.signed_at, Some(time));
}

#[test]
fn the_time_of_checkpoints_never_goes_back() {
    let world = with_a_history();
    let mut earlier = sign(&world);
    let key = signer(&world).key().clone();
    earlier.note = key.sign_at(&earlier.checkpoint, FUTURE).unwrap();
    replace_note(&world, &earlier.note);
    grow(&world, ["golf"]);
    let later = sign(&world);
    assert!(later.checkpoint.size > earlier.checkpoint.size);
    assert_eq!(time_of(&world, &later.note), Some(FUTURE));
    let report = super::verify(export(&world), &verifier_key(&world), Some(&earlier)).unwrap();
    assert_eq!(report.signed_at, Some(FUTURE));
}

#[test]
fn a_time_that_the_key_has_not_signed_counts_for_nothing() {
    let world = with_a_history();
    let signed = sign(&world);
    let stranger = SigningKey::from_seed(&[9; 32]).sign_at(&signed.checkpoint, FUTURE).unwrap();
    let line = stranger.lines().last().unwrap();
    replace_note(&world, &format!("{}{line}\n", signed.note));
    grow(&world, ["golf"]);
    assert!(time_of(&world, &sign(&world).note).unwrap() < FUTURE);
}

#[test]
fn a_new_key_says_when_it_has_signed() {
    let world = with_a_history().restarted_after(|database| {
        crate::harness::wait(database.signing().replace_key(database.pool(), None)).unwrap();
    });
    let report = super::verify(export(&world), &verifier_key(&world), None).unwrap();
    assert!(report.signed_at.is_some());
}

/// Verifies five events that were signed at `later`, with a checkpoint of the first `size` that was signed at `earlier`.
fn compared(later: Option<u64>, (size, earlier): (usize, Option<u64>)) -> Result<Report, Fault> {
    let events: Vec<_> = (1..=5).map(event).collect();
    let note = |size: usize, time: Option<u64>| {
        let tree = tree(&events[..size]);
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
        match time {
            Some(time) => key().sign_at(&checkpoint, time),
            None => key().sign(&checkpoint),
        }
        .unwrap()
    };
    let trailer = Trailer { checkpoint: Some(note(5, later)), ..Trailer::of_range(0, None) };
    let file = written(&events, trailer);
    verify::file(file.path(), &key().verifier_key(ORIGIN), Some(&note(size, earlier)), |_| ())
}

#[test]
fn a_checkpoint_that_was_signed_before_a_smaller_one_is_a_fault() {
    let fault = compared(Some(10), (3, Some(11))).unwrap_err();
    let expected = "the checkpoint of 5 events was signed at 1970-01-01T00:00:10Z, before the earlier one of 3 events, at \
                    1970-01-01T00:00:11Z";
    assert_eq!(fault.what, expected);
    for (later, earlier) in [
        (Some(11), (3, Some(11))),
        // The same checkpoint, signed twice.
        (Some(10), (5, Some(11))),
        // Older versions signed without a time.
        (Some(10), (3, None)),
        (None, (3, Some(11))),
        (None, (3, None)),
    ] {
        assert_eq!(compared(later, earlier).unwrap().signed_at, later);
    }
}

proptest! {
    #[test]
    fn a_time_is_written_as_others_write_it(seconds in 0..253_402_300_800_u64) {
        let theirs = OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap()).unwrap();
        prop_assert_eq!(utc(seconds), theirs.format(&Rfc3339).unwrap());
    }
}
