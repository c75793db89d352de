//! Decoding an event from the columns of the table `events`.

use identity_domain::{Event, Kind};
use serde_json::Value;

/// Why an event cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// This software does not know the aggregate type.
    #[error("unknown aggregate type {0}")]
    UnknownAggregate(String),
    /// This software does not know the event version. Newer software may have written it.
    #[error("unknown version {version} of event {event_type}")]
    UnknownVersion {
        /// The event's wire name.
        event_type: String,
        /// The version beside the payload.
        version: String,
    },
    /// The payload belongs to another event type than the one beside it.
    #[error("payload is not that of event {0}")]
    Mislabelled(String),
    /// The payload does not have the shape of its event version.
    #[error("payload of event {event_type} does not decode")]
    Payload {
        /// The event's wire name.
        event_type: String,
        /// The cause.
        source: serde_json::Error,
    },
}

/// Decodes one event. Every event is at version 1, so there is no upcaster yet.
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

/// Decodes one event from JSON text, without a `Value` in between. For scans of many events.
pub fn decode_text(
    kind: Kind,
    event_type: &str,
    version: &str,
    payload: &[u8],
) -> Result<Event, DecodeError> {
    checked(event_type, version, Event::decode_text(kind, payload))
}

/// Checks that the event type and version beside a payload are those of the decoded event.
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
