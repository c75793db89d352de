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
    /// The payload is one of another event.
    #[error("payload is not that of event {0}")]
    Mislabelled(String),
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
    checked(event_type, version, Event::decode(kind, payload))
}

/// The same from JSON text, for scans of many events, without a value in between.
pub fn decode_text(
    kind: Kind,
    event_type: &str,
    version: &str,
    payload: &[u8],
) -> Result<Event, DecodeError> {
    checked(event_type, version, Event::decode_text(kind, payload))
}

/// The type and version beside a payload must be those of the shape it decodes to.
fn checked(
    event_type: &str,
    version: &str,
    decoded: serde_json::Result<Event>,
) -> Result<Event, DecodeError> {
    if version != "1" {
        return Err(DecodeError::UnknownVersion {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
        });
    }
    let event =
        decoded.map_err(|source| DecodeError::Payload { event_type: event_type.to_owned(), source })?;
    if event.name() == event_type { Ok(event) } else { Err(DecodeError::Mislabelled(event_type.to_owned())) }
}
