use identity_domain::Kind;
use identity_log::{DecisionState, Metadata, Recorded, codec};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::folded::FoldedStates;
use super::model::{BYTES_PER_EVENT, is_due};
use super::*;
use crate::projection::Projection as _;

const ID: &str = "00000000-0000-7000-8000-000000000001";

fn recorded(sequence: i64, event_type: &str, further: Value) -> Recorded {
    let mut payload = further;
    payload["type"] = event_type.into();
    Recorded {
        position: sequence,
        organization_id: "org".to_owned(),
        organization_sequence: sequence,
        aggregate_id: ID.to_owned(),
        sequence,
        event: codec::decode("identity", event_type, "1", payload).unwrap(),
        metadata: Metadata::default(),
        recorded_at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(sequence),
    }
}

fn birth() -> Recorded {
    let created = json!({
        "id": ID, "agent_handle": "harbor-desk", "display_name": "Desk", "description": null, "imessage_enabled": false,
        "mailbox": {"id": ID, "email_address": "harbor-desk@agents.localhost"},
        "tunnel": {"id": ID, "tls_mode": "edge", "zone": "tunnels.localhost"},
    });
    recorded(1, "identity.created", created)
}

fn described(sequence: i64) -> Recorded {
    recorded(sequence, "identity.description_changed", json!({ "description": sequence.to_string() }))
}

fn granted(sequence: i64) -> Recorded {
    let grant = json!({
        "access_id": format!("00000000-0000-7000-8000-{sequence:012}"),
        "viewer_identity_id": format!("00000000-0000-7000-9000-{sequence:012}"),
    });
    recorded(sequence, "identity.visibility_granted", json!({ "grant": grant }))
}

fn folded(events: impl IntoIterator<Item = Recorded>) -> FoldedStates<IdentityRows> {
    events.into_iter().fold(None, |folded, event| IdentityStates::fold(folded, &event)).unwrap()
}

fn stored(folded: &FoldedStates<IdentityRows>) -> Vec<i64> {
    folded.to_store().iter().map(|row| row.sequence).collect()
}

#[test]
fn states_are_due_after_growing_numbers_of_events() {
    let due = (1..100_000).filter(|events| is_due(*events)).map(|due| due / EVENTS_BETWEEN_STATES);
    assert_eq!(due.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64]);
}

#[test]
fn a_small_state_is_stored_after_every_256_events() {
    let life = [birth()].into_iter().chain((2..=1_000).map(described));
    assert_eq!(stored(&folded(life)), [256, 512, 768]);
}

// 4,000 viewers take about 750 kB, for which 1,500 events pay.
#[test]
fn a_large_state_is_stored_after_so_many_events_as_pay_for_it() {
    let life = [birth()].into_iter().chain((2..=4_000).map(granted)).chain((4_001..=12_000).map(described));
    let folded = folded(life);
    let rows = folded.to_store();
    let size = |row: &StateRow| i64::try_from(row.decision.len() + row.rows.as_ref().unwrap().len()).unwrap();
    let mut last = 0;
    for row in rows {
        assert!(size(row) <= (row.sequence - last) * BYTES_PER_EVENT, "{}", row.sequence);
        last = row.sequence;
    }
    assert!(rows.len() >= 3 && 12_000 - last <= 4_096, "{:?}", stored(&folded));
}

#[test]
fn a_fold_that_goes_on_from_a_stored_state_stores_the_same() {
    let grants = (2..=150).map(granted);
    let life: Vec<Recorded> =
        [birth()].into_iter().chain(grants).chain((151..=1_100).map(described)).collect();
    let whole = folded(life.iter().cloned());
    let version = <IdentityStates as States>::VERSION;
    for row in whole.to_store() {
        let mut resumed: FoldedStates<IdentityRows> = FoldedStates::after(row, version).unwrap();
        life.iter().filter(|event| event.sequence > row.sequence).for_each(|event| resumed.evolve(event));
        let later: Vec<&StateRow> =
            whole.to_store().iter().filter(|later| later.sequence > row.sequence).collect();
        assert_eq!(resumed.to_store().iter().collect::<Vec<_>>(), later);
    }
}

#[test]
fn every_state_that_decisions_need_survives_being_stored() {
    for kind in Kind::ALL {
        let state = DecisionState::initial(kind);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<DecisionState>(&text).unwrap(), state);
    }
}
