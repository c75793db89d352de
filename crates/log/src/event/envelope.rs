//! The envelope: an event as auditors see it, and its leaf hash.

use identity_proof::{canonical, leaf};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::recorded::{Recorded, timestamp};

/// The envelope of an event. It has the same members wherever an event is shown. The fields are sorted by name and
/// the payload is already canonical, so `serde_json` writes the RFC 8785 canonical form.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    aggregate_id: &'a str,
    aggregate_type: &'static str,
    event_type: &'static str,
    event_version: String,
    metadata: &'a std::collections::BTreeMap<String, String>,
    organization_id: &'a str,
    organization_sequence: i64,
    payload: &'a Payload,
    recorded_at: String,
    sequence: i64,
}

/// The payload of an event as canonical JSON.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// The canonical form of an event's payload.
    pub fn of(payload: &Value) -> Result<Self, serde_json::Error> {
        let mut text = Vec::with_capacity(512);
        canonical::write(payload, &mut text)?;
        // `canonical::write` writes UTF-8.
        RawValue::from_string(String::from_utf8(text).unwrap_or_default()).map(Self)
    }

    /// The JSON text.
    pub(crate) fn into_text(self) -> String {
        Box::<str>::from(self.0).into_string()
    }
}

impl<'a> Envelope<'a> {
    /// The envelope of `recorded`, whose encoded payload is `payload`.
    pub fn of(recorded: &'a Recorded, payload: &'a Payload) -> Self {
        Self {
            aggregate_id: &recorded.aggregate_id,
            aggregate_type: recorded.event.kind().as_str(),
            event_type: recorded.event.name(),
            event_version: recorded.event.version(),
            metadata: &recorded.metadata.0,
            organization_id: &recorded.organization_id,
            organization_sequence: recorded.organization_sequence,
            payload,
            recorded_at: timestamp(recorded.recorded_at),
            sequence: recorded.sequence,
        }
    }

    /// The leaf hash of RFC 6962, section 2.1, over the RFC 8785 canonical JSON of the envelope.
    pub fn leaf_hash(&self) -> Result<[u8; 32], serde_json::Error> {
        Ok(leaf::of_canonical(&[&serde_json::to_vec(self)?]).0)
    }
}

#[cfg(test)]
mod tests {
    use identity_domain::Event;
    use identity_domain::organization::Event as OrganizationEvent;
    use proptest::prelude::*;
    use time::{Duration, OffsetDateTime};

    use super::{Envelope, Payload};
    use crate::event::metadata::{Actor, Metadata};
    use crate::event::recorded::Recorded;

    proptest! {
        #[test]
        fn the_leaf_hash_is_the_one_that_anybody_finds_who_canonicalizes_the_envelope(
            name: String, id: String, key: String, sequence in 1..i64::from(i32::MAX), microseconds in 0..4_000_000_000_000_000_i64,
        ) {
            let recorded = Recorded {
                position: sequence,
                organization_id: id.clone(),
                organization_sequence: sequence,
                aggregate_id: id,
                sequence,
                event: Event::Organization(OrganizationEvent::Created { name }),
                metadata: Metadata::new(&Actor::Operator, "request").with_idempotency_key(&key),
                recorded_at: OffsetDateTime::UNIX_EPOCH + Duration::microseconds(microseconds),
            };
            let payload = Payload::of(&recorded.event.encode().unwrap()).unwrap();
            let envelope = Envelope::of(&recorded, &payload);
            let anybody: serde_json::Value = serde_json::from_slice(&serde_json::to_vec(&envelope).unwrap()).unwrap();
            prop_assert_eq!(envelope.leaf_hash().unwrap(), identity_proof::leaf::of(&anybody).unwrap().0);
        }
    }
}
