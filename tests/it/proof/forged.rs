//! Histories that were already wrong when they were signed. The owner of the key can sign anything, but a history that
//! contradicts itself is refused.

use std::fs;

use identity_audit::envelope::Envelope;
use identity_audit::json::CanonicalJson;
use identity_audit::line;
use identity_proof::trailer::{Trailer, TrailerLine};
use identity_proof::{Checkpoint, Frontier, SigningKey};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::verify;

pub(super) const ORIGIN: &str = "identityd/org_forged";

/// A value as events have it.
pub(super) fn as_json(value: &Value) -> CanonicalJson {
    CanonicalJson::parse(value.to_string().as_bytes()).unwrap()
}

pub(super) fn event(organization_sequence: i64) -> Envelope {
    Envelope {
        organization_id: "org_forged".to_owned(),
        organization_sequence,
        aggregate_type: "identity".to_owned(),
        aggregate_id: "a".to_owned(),
        sequence: organization_sequence,
        event_type: "identity.renamed".to_owned(),
        event_version: "1".to_owned(),
        recorded_at: format!("2026-01-01T00:00:{organization_sequence:02}.000000Z"),
        payload: as_json(&json!({"agent_handle": "a"})),
        metadata: as_json(&json!({"actor": "operator"})),
    }
}

pub(super) fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

/// The tree over these events, which are the first of the history.
pub(super) fn tree(events: &[Envelope]) -> Frontier {
    let mut tree = Frontier::default();
    for event in events {
        tree.append(event.leaf().unwrap());
    }
    tree
}

/// A checkpoint over these events, which are the first of the history.
pub(super) fn checkpoint(events: &[Envelope]) -> String {
    let tree = tree(events);
    key().sign(&Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() }).unwrap()
}

/// A file of these events. The trailer gets their number and range; the rest of it is given.
pub(super) fn written(events: &[Envelope], mut trailer: Trailer) -> NamedTempFile {
    let mut text = Vec::new();
    for event in events {
        let sequence = u64::try_from(event.organization_sequence).unwrap();
        trailer.add(1, sequence, sequence);
        text.extend(line::write(event, Some(&event.leaf().unwrap())).unwrap());
    }
    text.extend(serde_json::to_vec(&TrailerLine { trailer }).unwrap());
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, text).unwrap();
    file
}

/// Signs and verifies these events. The error is the line and the reason.
fn signed(events: &[Envelope]) -> Result<u64, (Option<u64>, String)> {
    let trailer = Trailer { checkpoint: Some(checkpoint(events)), ..Trailer::of_range(0, None) };
    let verdict = verify(written(events, trailer), &key().verifier_key(ORIGIN), None);
    verdict.map(|report| report.events).map_err(|fault| (fault.line, fault.what))
}

/// Five events, one of which is changed by `wrong`.
fn with(place: usize, wrong: impl FnOnce(&mut Envelope)) -> (Option<u64>, String) {
    let mut events: Vec<Envelope> = (1..=5).map(event).collect();
    wrong(&mut events[place - 1]);
    signed(&events).unwrap_err()
}

#[test]
fn a_history_that_agrees_with_itself_is_fine() {
    let events: Vec<Envelope> = (1..=5).map(event).collect();
    assert_eq!(signed(&events), Ok(5));
}

#[test]
fn an_aggregate_with_a_gap_is_named() {
    let fault = with(3, |event| event.sequence = 4);
    assert_eq!(fault, (Some(3), "event 3 of identity a is missing, its event 4 stands here".to_owned()));
    let fault = with(4, |event| event.aggregate_id = "b".to_owned());
    assert_eq!(fault, (Some(4), "event 1 of identity b is missing, its event 4 stands here".to_owned()));
}

#[test]
fn time_that_goes_back_is_named() {
    let fault = with(4, |event| event.recorded_at = "2026-01-01T00:00:02.999999Z".to_owned());
    assert_eq!(fault, (Some(4), "event 4 was recorded before the one that precedes it".to_owned()));
}

#[test]
fn an_event_of_another_organization_is_named() {
    let fault = with(2, |event| event.organization_id = "org_other".to_owned());
    assert_eq!(fault, (Some(2), "event of another organization, org_other".to_owned()));
}

#[test]
fn an_event_that_is_counted_twice_is_named() {
    let fault = with(5, |event| event.organization_sequence = 4);
    assert_eq!(fault, (Some(5), "event 5 is missing, event 4 stands in its place".to_owned()));
}
