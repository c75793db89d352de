//! Files without a fault of which not everything is proved. The report must never count an unproved event as proved.

use identity_audit::envelope::Envelope;
use identity_audit::report::{Fault, Report};
use identity_audit::verify::file;
use identity_proof::trailer::Trailer;
use serde_json::json;

use super::forged::{ORIGIN, as_json, checkpoint, event, key, tree, written};

fn events(last: i64) -> Vec<Envelope> {
    (1..=last).map(event).collect()
}

/// The same, with one changed event.
fn with_a_forgery(last: i64, forged: usize) -> Vec<Envelope> {
    let mut events = events(last);
    events[forged - 1].payload = as_json(&json!({"agent_handle": "mallory"}));
    events
}

/// The trailer of the events after these, up to the end of the checkpoint.
fn after(after: &[Envelope], checkpoint: String) -> Trailer {
    let before = tree(after).subtrees().iter().map(ToString::to_string).collect();
    let range = Trailer::of_range(after.len() as u64, None);
    Trailer { before, checkpoint: Some(checkpoint), ..range }
}

fn verify(events: &[Envelope], trailer: Trailer, previous: Option<&str>) -> Result<Report, Fault> {
    file(written(events, trailer).path(), &key().verifier_key(ORIGIN), previous, |_| ())
}

/// The range of the first unproved events, and the number of proved events.
#[track_caller]
fn first_unproved(events: &[Envelope], trailer: Trailer) -> (Option<u64>, Option<u64>, u64) {
    let report = verify(events, trailer, None).unwrap();
    let first = report.unproved.first().expect("something is not proved");
    (first.line, first.sequence, report.proved)
}

#[test]
fn a_part_is_proved_by_the_hashes_of_what_came_before_it() {
    let genuine = events(5);
    let report = verify(&genuine[2..], after(&genuine[..2], checkpoint(&genuine)), None).unwrap();
    assert_eq!((report.proved, report.unproved), (3, vec![]));
    let forged = with_a_forgery(5, 4);
    let fault = verify(&forged[2..], after(&genuine[..2], checkpoint(&genuine)), None).unwrap_err();
    assert_eq!((fault.line, fault.sequence), (Some(3), Some(5)));
}

#[test]
fn a_part_without_the_hashes_of_what_came_before_it_proves_nothing() {
    let (genuine, forged) = (events(5), with_a_forgery(5, 4));
    for before in [vec![], vec!["no hash".to_owned()], vec![tree(&genuine).root().to_string(); 2]] {
        let trailer = Trailer { before, ..after(&genuine[..2], checkpoint(&genuine)) };
        assert_eq!(first_unproved(&forged[2..], trailer), (Some(1), Some(3), 0));
    }
}

#[test]
fn events_after_an_old_checkpoint_are_not_proved() {
    let genuine = events(5);
    let trailer = after(&[], checkpoint(&genuine[..3]));
    assert_eq!(first_unproved(&with_a_forgery(5, 4), trailer), (Some(4), Some(4), 3));
    for begin in [3, 4] {
        let trailer = after(&genuine[..begin], checkpoint(&genuine[..3]));
        let first = begin as u64 + 1;
        assert_eq!(first_unproved(&genuine[begin..], trailer), (Some(1), Some(first), 0));
    }
}

#[test]
fn a_part_that_the_checkpoint_goes_beyond_needs_a_proof_and_a_word_that_it_was_asked_for() {
    let genuine = events(5);
    let part = |until| Trailer { until, ..after(&[], checkpoint(&genuine)) };
    assert_eq!(first_unproved(&genuine[..3], part(Some(3))), (Some(1), Some(1), 0));
    let fault = verify(&genuine[..3], part(None), None).unwrap_err();
    assert_eq!((fault.line, fault.sequence), (Some(4), Some(4)));
    let fault = verify(&genuine[..3], part(Some(4)), None).unwrap_err();
    assert_eq!((fault.line, fault.sequence), (Some(4), Some(4)));
    verify(&genuine[..3], part(Some(2)), None).unwrap_err();
    let wrong = Trailer { consistency: vec![tree(&genuine).root().to_string()], ..part(Some(3)) };
    let fault = verify(&genuine[..3], wrong, None).unwrap_err();
    assert_eq!(fault.what, "the first 3 events are not those that were signed");
}

#[test]
fn an_earlier_checkpoint_is_compared_wherever_it_can_be() {
    let genuine = events(5);
    let whole = checkpoint(&genuine);
    let held = |begin: usize, previous: &str| {
        let report = verify(&genuine[begin..], after(&genuine[..begin], whole.clone()), Some(previous))?;
        Ok::<_, Fault>(report.unproved.is_empty())
    };
    for size in 1..=5 {
        let (right, wrong) = (checkpoint(&genuine[..size]), checkpoint(&with_a_forgery(5, 1)[..size]));
        assert_eq!(held(0, &right), Ok(true), "{size}");
        held(0, &wrong).unwrap_err();
        let is_comparable = size >= 3;
        assert_eq!(held(3, &right), Ok(is_comparable), "{size}");
        assert_eq!(held(3, &wrong).is_err(), is_comparable, "{size}");
    }
}

/// The roots of two checkpoints of the same size can be compared without events.
#[test]
fn the_checkpoint_of_a_part_is_compared_with_an_earlier_one_of_its_size() {
    let genuine = events(5);
    let part = || Trailer { until: Some(2), ..after(&[], checkpoint(&genuine)) };
    let unproved =
        |previous: &str| verify(&genuine[..2], part(), Some(previous)).map(|report| report.unproved.len());
    assert_eq!(unproved(&checkpoint(&genuine)), Ok(1), "the events alone lack a proof");
    assert_eq!(unproved(&checkpoint(&genuine[..4])), Ok(2));
    unproved(&checkpoint(&with_a_forgery(5, 1))).unwrap_err();
}

#[test]
fn what_a_filter_left_is_held_as_far_as_it_can_be() {
    let genuine = events(5);
    let chosen = [genuine[1].clone(), genuine[3].clone()];
    let trailer = || Trailer { filtered: true, ..after(&[], checkpoint(&genuine)) };
    assert_eq!(first_unproved(&chosen, trailer()), (Some(1), Some(2), 0));
    let backwards = [genuine[3].clone(), genuine[1].clone()];
    assert_eq!(verify(&backwards, trailer(), None).unwrap_err().line, Some(2));
}

#[test]
fn sizes_that_no_history_has_are_refused() {
    let trailer = Trailer { after: Some(u64::MAX), ..after(&[], checkpoint(&events(1))) };
    let fault = verify(&events(2), trailer, None).unwrap_err();
    assert!(fault.what.contains("than there can be"), "{fault}");
}

#[test]
fn a_file_without_events_proves_only_that_the_history_ends_where_its_range_begins() {
    let genuine = events(5);
    let nothing = |begin: usize, until| Trailer { until, ..after(&genuine[..begin], checkpoint(&genuine)) };
    let filtered = |begin| Trailer { filtered: true, ..nothing(begin, None) };
    let (whole, part) = (checkpoint(&genuine), checkpoint(&genuine[..3]));
    for previous in [None, Some(whole.as_str()), Some(part.as_str())] {
        let unproved = |trailer| verify(&[], trailer, previous).unwrap().unproved;
        for trailer in [filtered(0), filtered(5), nothing(0, Some(0)), nothing(3, Some(3))] {
            let found = unproved(trailer);
            assert_eq!(found[0].what, "that there are no events in this range is not proved");
        }
        assert_eq!(unproved(nothing(5, None)).len(), usize::from(previous == Some(part.as_str())));
    }
    let beyond = verify(&[], Trailer { after: Some(6), ..nothing(5, None) }, None).unwrap();
    assert_eq!(beyond.unproved.len(), 1);
}
