//! The envelope of an event: what is hashed.

use identity_proof::{Hash, envelope, leaf};
use serde::{Deserialize, Serialize};

use crate::json::CanonicalJson;

/// The envelope of an event in an export. Exactly these members are hashed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The organization.
    pub organization_id: String,
    /// Its place in the history of the organization: 1, 2, 3 … without gaps.
    pub organization_sequence: i64,
    /// The type of its aggregate.
    pub aggregate_type: String,
    /// The id of its aggregate.
    pub aggregate_id: String,
    /// Its place in the history of the aggregate, likewise.
    pub sequence: i64,
    /// The type of the event.
    pub event_type: String,
    /// The event version: the version of the shape of the payload.
    pub event_version: String,
    /// The moment at which it was recorded.
    pub recorded_at: String,
    /// The payload.
    pub payload: CanonicalJson,
    /// The actor and the request that caused it.
    pub metadata: CanonicalJson,
}

impl Envelope {
    /// The leaf hash.
    pub fn leaf(&self) -> serde_json::Result<Hash> {
        Ok(leaf::of_canonical(&[&self.canonical()?]))
    }

    /// The canonical text.
    pub(crate) fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let members = envelope::Envelope {
            aggregate_id: &self.aggregate_id,
            aggregate_type: &self.aggregate_type,
            event_type: &self.event_type,
            event_version: &self.event_version,
            metadata: self.metadata.as_str().as_bytes(),
            organization_id: &self.organization_id,
            organization_sequence: self.organization_sequence,
            payload: self.payload.as_str().as_bytes(),
            recorded_at: self.recorded_at.as_str().into(),
            sequence: self.sequence,
        };
        members.canonical()
    }
}
