//! The leaf hash of a stored event, computed from its row as an auditor computes it from an export.

use identity_proof::Hash;
use identity_proof::envelope::Envelope;

use super::history::Entry;
use crate::event::recorded::timestamp;

/// The leaf hash of an event. Fails if payload or metadata have no canonical form, such as a number that is too large.
pub(crate) fn leaf_of(entry: &Entry<'_>) -> Result<Hash, serde_json::Error> {
    let envelope = Envelope {
        aggregate_id: entry.aggregate_id,
        aggregate_type: entry.aggregate_type,
        event_type: entry.event_type,
        event_version: entry.event_version,
        metadata: entry.metadata,
        organization_id: entry.organization_id,
        organization_sequence: entry.organization_sequence,
        payload: entry.payload,
        recorded_at: timestamp(entry.recorded_at).into(),
        sequence: entry.sequence,
    };
    envelope.leaf(&mut vec![])
}
