//! From the columns of the log back to an event, old versions included.

use identity_domain::{Event, Kind};
use serde_json::Value;

/// Why the columns are no event that this software knows.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No aggregate of this type.
    #[error("unknown aggregate type {0}")]
    UnknownAggregate(String),
    /// The shape was written by newer software, or by none.
    #[error("unknown version {version} of event {event_type}")]
    UnknownVersion {
        /// The event's wire name.
        event_type: String,
        /// The version that was found.
        version: String,
    },
    /// The payload does not have the shape of its version.
    #[error("payload of event {event_type} does not decode")]
    Payload {
        /// The event's wire name.
        event_type: String,
        /// What the decoder says.
        source: serde_json::Error,
    },
}

/// Decodes one event. The present version of every shape is 1; upcasters of older ones will stand here.
pub fn decode(
    aggregate_type: &str,
    event_type: &str,
    version: &str,
    payload: Value,
) -> Result<Event, DecodeError> {
    let kind = Kind::parse(aggregate_type)
        .ok_or_else(|| DecodeError::UnknownAggregate(aggregate_type.to_owned()))?;
    if version != "1" {
        return Err(DecodeError::UnknownVersion {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
        });
    }
    Event::decode(kind, payload)
        .map_err(|source| DecodeError::Payload { event_type: event_type.to_owned(), source })
}
