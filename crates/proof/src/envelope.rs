//! The envelope of an event in canonical form: the bytes that are hashed. The signer and the auditor both write it with this code.

use crate::canonical;
use crate::hash::Hash;
use crate::leaf;

/// Room for most events.
const TEXT_BYTES: usize = 1024;

/// The members of an envelope.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The id of the aggregate.
    pub aggregate_id: &'a str,
    /// The type of the aggregate.
    pub aggregate_type: &'a str,
    /// The type of the event.
    pub event_type: &'a str,
    /// The event version.
    pub event_version: &'a str,
    /// The metadata: canonical JSON.
    pub metadata: &'a [u8],
    /// The organization.
    pub organization_id: &'a str,
    /// The place in the history of the organization.
    pub organization_sequence: i64,
    /// The payload: canonical JSON.
    pub payload: &'a [u8],
    /// The moment at which the event was recorded.
    pub recorded_at: &'a str,
    /// The place in the history of the aggregate.
    pub sequence: i64,
}

impl Envelope<'_> {
    /// The leaf hash.
    pub fn leaf(&self) -> serde_json::Result<Hash> {
        Ok(leaf::of_canonical(&[&self.canonical()?]))
    }

    /// The canonical text. Members come in the order of their names.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(TEXT_BYTES);
        string(&mut text, r#"{"aggregate_id":"#, self.aggregate_id)?;
        string(&mut text, r#","aggregate_type":"#, self.aggregate_type)?;
        string(&mut text, r#","event_type":"#, self.event_type)?;
        string(&mut text, r#","event_version":"#, self.event_version)?;
        json(&mut text, r#","metadata":"#, self.metadata);
        string(&mut text, r#","organization_id":"#, self.organization_id)?;
        number(&mut text, r#","organization_sequence":"#, self.organization_sequence)?;
        json(&mut text, r#","payload":"#, self.payload);
        string(&mut text, r#","recorded_at":"#, self.recorded_at)?;
        number(&mut text, r#","sequence":"#, self.sequence)?;
        text.push(b'}');
        Ok(text)
    }
}

/// Appends a member whose value is a text. A canonical text is escaped as `serde_json` does it.
fn string(text: &mut Vec<u8>, name: &str, value: &str) -> serde_json::Result<()> {
    text.extend_from_slice(name.as_bytes());
    serde_json::to_writer(text, value)
}

/// Appends a member whose value is a number.
fn number(text: &mut Vec<u8>, name: &str, value: i64) -> serde_json::Result<()> {
    text.extend_from_slice(name.as_bytes());
    canonical::write(&value.into(), text)
}

/// Appends a member whose value is canonical JSON.
fn json(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(value);
}
