//! Witnesses cosign checkpoints that continue what they have seen, and nothing waits for them.

use std::fs;

use identity_audit::witness;
use identity_proof::{Checkpoint, CosignerKey};

use super::witness::{Done, TIME, Witness};
use super::{export, grow, sign, verifier_key, verify, with_a_history};
use crate::harness::{World, eventually};

const NAME: &str = "witness.example/w1";

fn checkpoint(world: &World, query: &str) -> Option<String> {
    let answer = world.admin().get(&format!("/log/checkpoint{query}"));
    (answer.status == 200).then(|| String::from_utf8(answer.bytes).unwrap())
}

/// Waits until a witness has cosigned the last checkpoint, which covers all events, and returns it.
fn cosigned(world: &World, witness: &CosignerKey) -> String {
    let events = u64::try_from(world.events()).unwrap();
    let mut found = String::new();
    eventually("the witness has cosigned the last checkpoint", || {
        let note = checkpoint(world, "").unwrap_or_default();
        let is_last = Checkpoint::read(&note).is_ok_and(|checkpoint| checkpoint.size == events);
        let is_cosigned = is_last && witness.find(&note).unwrap().is_some_and(|found| found.time == TIME);
        found = note;
        is_cosigned
    });
    found
}

#[test]
fn a_witness_cosigns_what_continues_the_history_that_it_has_seen() {
    let world = with_a_history();
    let witness = Witness::new(NAME, &[verifier_key(&world)]);
    let world = world.restarted_with_witnesses(vec![witness.setting()]);
    let (key, first) = (verifier_key(&world), cosigned(&world, &witness.cosigner()));
    grow(&world, ["golf", "hotel", "india"]);
    let second = cosigned(&world, &witness.cosigner());
    let sizes = [&first, &second].map(|note| Checkpoint::open(note, &key).unwrap().size);
    assert_eq!(
        witness.done(),
        sizes.map(Done::Cosigned),
        "each was sent once, with the size of the one before"
    );
    // A process that does not know what the witness has seen is told the size.
    let world = world.restarted();
    grow(&world, ["juliet"]);
    cosigned(&world, &witness.cosigner());
    assert_eq!(witness.done()[2..], [Done::Conflict(sizes[1]), Done::Cosigned(sizes[1] + 1)]);
}

#[test]
fn an_auditor_can_demand_a_cosignature() {
    let world = with_a_history();
    let witness = Witness::new(NAME, &[verifier_key(&world)]);
    let other = Witness::new("witness.example/w2", &[]);
    let world = world.restarted_with_witnesses(vec![witness.setting()]);
    let note = cosigned(&world, &witness.cosigner());
    let exported = export(&world);
    let report = verify(&exported, &verifier_key(&world), None).unwrap();
    let seen = witness::require(&[witness.cosigner()], &[&report.note]).unwrap();
    assert_eq!((seen[0].witness.as_str(), seen[0].size, seen[0].time), (NAME, report.events, TIME));
    let unseen = witness::require(&[witness.cosigner(), other.cosigner()], &[&report.note]).unwrap_err();
    assert!(unseen.to_string().starts_with("witness.example/w2 has cosigned neither"), "{unseen}");
    // An earlier checkpoint will do, and can be asked for when the last one is too new.
    assert_eq!(checkpoint(&world, &format!("?witness={NAME}")), Some(note.clone()));
    assert_eq!(checkpoint(&world, "?witness=witness.example/w2"), None);
    let bare = note.replace(&witness.cosigner().find(&note).unwrap().unwrap().line, "");
    assert_eq!(witness::require(&[witness.cosigner()], &[&bare, &note]).unwrap(), seen);
    witness::require(&[witness.cosigner()], &[&bare]).unwrap_err();
}

#[test]
fn a_witness_that_is_away_or_does_not_know_the_history_holds_nobody_up() {
    let world = with_a_history();
    let (stranger, witness) =
        (Witness::new("witness.example/w2", &[]), Witness::new(NAME, &[verifier_key(&world)]));
    // Nobody listens at this port.
    let away = format!("{} http://127.0.0.1:1", Witness::new("witness.example/w3", &[]).key());
    let settings = vec![away.parse().unwrap(), stranger.setting(), witness.setting()];
    let world = world.restarted_with_witnesses(settings);
    cosigned(&world, &witness.cosigner());
    grow(&world, ["golf"]);
    let note = cosigned(&world, &witness.cosigner());
    eventually("the other one was asked, too", || stranger.done() == [Done::Refused(404)]);
    assert_eq!(stranger.cosigner().find(&note).unwrap(), None);
    verify(export(&world), &verifier_key(&world), None).unwrap();
}

/// The whole data directory was set back to a backup, so that nothing here knows what was signed after it. The witness does.
#[test]
fn a_second_history_is_not_cosigned() {
    let world = with_a_history();
    let witness = Witness::new(NAME, &[verifier_key(&world)]);
    let world = world.restarted_with_witnesses(vec![witness.setting()]);
    let memory =
        world.database().signing().data_dir.join(format!("signing/{}.note", world.organization_id()));
    let remembered = fs::read(&memory).unwrap();
    world.database().back_up();
    grow(&world, ["golf", "hotel"]);
    let lost = Checkpoint::read(&cosigned(&world, &witness.cosigner())).unwrap().size;
    let world = world.restarted_after(|database| {
        database.restore();
        fs::write(&memory, remembered).unwrap();
    });
    grow(&world, ["other"]);
    let shorter = sign(&world);
    assert!(shorter.checkpoint.size < lost);
    eventually("the witness was asked", || witness.done().last() == Some(&Done::Conflict(lost)));
    grow(&world, ["others", "another", "more", "still"]);
    // The log was left out for a while, since events are missing.
    let world = world.restarted();
    eventually("the witness has refused", || witness.done().last() == Some(&Done::Refused(422)));
    assert_eq!(witness.cosigner().find(&sign(&world).note).unwrap(), None);
}
