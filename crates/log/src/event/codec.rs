//! Decoding an event from the columns of the table `events`, whatever its version.

use cqrs_es::persist::SerializedEvent;
use identity_domain::upcasting::{present_version, upcast};
use identity_domain::{Event, Kind, json};
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
    /// A column has a value that the service does not write.
    #[error("{column} cannot be read")]
    Column {
        /// The column.
        column: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
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

/// Decodes one event, of any version.
pub fn decode(
    aggregate_type: &str,
    event_type: &str,
    version: &str,
    payload: Value,
) -> Result<Event, DecodeError> {
    let kind = Kind::parse(aggregate_type)
        .ok_or_else(|| DecodeError::UnknownAggregate(aggregate_type.to_owned()))?;
    if version == present_version(event_type) {
        return checked(event_type, Event::decode(kind, payload));
    }
    let event = upcast(stored(aggregate_type, event_type, version, payload));
    if event.event_version != present_version(&event.event_type) {
        return Err(DecodeError::UnknownVersion {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
        });
    }
    checked(&event.event_type, Event::decode(kind, event.payload))
}

/// Decodes one event from JSON text. If it is of the present version, there is no `Value` in between. For scans of many events.
pub fn decode_text(
    kind: Kind,
    event_type: &str,
    version: &str,
    payload: &[u8],
) -> Result<Event, DecodeError> {
    if version == present_version(event_type) {
        return checked(event_type, Event::decode_text(kind, payload));
    }
    let payload = json::parse(payload).map_err(|source| undecodable(event_type, source))?;
    decode(kind.as_str(), event_type, version, payload)
}

/// An event as upcasters take it. They look at its type, its version and its payload.
fn stored(aggregate_type: &str, event_type: &str, version: &str, payload: Value) -> SerializedEvent {
    let [aggregate_type, event_type, version] = [aggregate_type, event_type, version].map(str::to_owned);
    SerializedEvent::new(String::new(), 0, aggregate_type, event_type, version, payload, Value::Null)
}

/// Checks that the event type beside a payload is that of the decoded event.
fn checked(event_type: &str, decoded: serde_json::Result<Event>) -> Result<Event, DecodeError> {
    let event = decoded.map_err(|source| undecodable(event_type, source))?;
    if event.name() == event_type { Ok(event) } else { Err(DecodeError::Mislabelled(event_type.to_owned())) }
}

fn undecodable(event_type: &str, source: serde_json::Error) -> DecodeError {
    DecodeError::Payload { event_type: event_type.to_owned(), source }
}
