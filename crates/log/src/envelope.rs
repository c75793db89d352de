//! What an auditor sees of an event, and the hash that seals it.

use serde::Serialize;
use serde_json::Value;

use crate::recorded::{Recorded, timestamp};

/// The envelope of an event, the same everywhere it is shown.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    organization_id: &'a str,
    organization_sequence: i64,
    aggregate_type: &'static str,
    aggregate_id: &'a str,
    sequence: i64,
    event_type: &'static str,
    event_version: String,
    recorded_at: String,
    payload: &'a Value,
    metadata: &'a std::collections::BTreeMap<String, String>,
}

impl<'a> Envelope<'a> {
    /// The envelope of `recorded`, whose encoded payload is `payload`.
    pub fn of(recorded: &'a Recorded, payload: &'a Value) -> Self {
        Self {
            organization_id: &recorded.organization_id,
            organization_sequence: recorded.organization_sequence,
            aggregate_type: recorded.event.kind().as_str(),
            aggregate_id: &recorded.aggregate_id,
            sequence: recorded.sequence,
            event_type: recorded.event.name(),
            event_version: recorded.event.version(),
            recorded_at: timestamp(recorded.recorded_at),
            payload,
            metadata: &recorded.metadata.0,
        }
    }

    /// The leaf hash of RFC 6962, section 2.1, over the RFC 8785 canonical JSON of the envelope.
    pub fn leaf_hash(&self) -> Result<[u8; 32], serde_json::Error> {
        Ok(identity_proof::leaf::of(self)?.0)
    }
}
