use identity_domain::organization::Event as OrganizationEvent;
use identity_domain::{Event, Kind};
use serde_json::Value;
use time::macros::datetime;

use super::Entry;
use crate::event::envelope::{Envelope, Payload};
use crate::event::metadata::{Actor, Metadata};
use crate::event::recorded::Recorded;

#[test]
fn the_text_of_an_entry_is_the_envelope_member_by_member() {
    let recorded = Recorded {
        position: 7,
        organization_id: "org \"quoted\"".to_owned(),
        organization_sequence: 5,
        aggregate_id: "org_é\n".to_owned(),
        sequence: 3,
        event: Event::Organization(OrganizationEvent::Created { name: "Ünïted\u{1}".to_owned() }),
        metadata: Metadata::new(&Actor::Operator, "request"),
        recorded_at: datetime!(2026-01-02 03:04:05.000006 UTC),
    };
    let payload = Payload::of(&recorded.event.encode().unwrap()).unwrap();
    let payload_text = serde_json::to_string(&payload).unwrap();
    let metadata = serde_json::to_vec(&recorded.metadata.0).unwrap();
    let entry = Entry {
        position: recorded.position,
        organization_id: &recorded.organization_id,
        organization_sequence: recorded.organization_sequence,
        aggregate_type: Kind::Organization.as_str(),
        aggregate_id: &recorded.aggregate_id,
        sequence: recorded.sequence,
        event_type: recorded.event.name(),
        event_version: "1",
        recorded_at: recorded.recorded_at,
        payload: payload_text.as_bytes(),
        metadata: &metadata,
        leaf_hash: None,
        leaf_start: [7; 6],
    };
    let mut text = Vec::new();
    entry.write_envelope(&mut text);
    let expected = serde_json::to_value(Envelope::of(&recorded, &payload)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
    let text = String::from_utf8(text).unwrap();
    let members = [
        "{\"organization_id\":",
        ",\"organization_sequence\":",
        ",\"aggregate_type\":",
        ",\"aggregate_id\":",
        ",\"sequence\":",
        ",\"event_type\":",
        ",\"event_version\":",
        ",\"recorded_at\":",
        ",\"payload\":",
        ",\"metadata\":",
    ];
    let places = members.map(|member| text.find(member).expect(member));
    assert!(places.is_sorted(), "{text}");
    let decoded = entry.recorded().unwrap();
    assert_eq!(Recorded { metadata: recorded.metadata.clone(), ..decoded }, recorded);
    assert!(expected.get("position").is_none());
}
