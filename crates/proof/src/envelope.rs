//! The envelope of an event in canonical form: the bytes that are hashed. The signer and the auditor both write it with this code.

use std::borrow::Cow;

use crate::canonical::{self, text};
use crate::hash::Hash;
use crate::leaf;

/// Room for most events.
const TEXT_BYTES: usize = 1024;

/// The members of an envelope. Payload and metadata are JSON text.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The id of the aggregate.
    pub aggregate_id: &'a str,
    /// The type of the aggregate.
    pub aggregate_type: &'a str,
    /// The type of the event.
    pub event_type: &'a str,
    /// The event version.
    pub event_version: &'a str,
    /// The metadata.
    pub metadata: &'a [u8],
    /// The organization.
    pub organization_id: &'a str,
    /// The place in the history of the organization.
    pub organization_sequence: i64,
    /// The payload.
    pub payload: &'a [u8],
    /// The moment at which the event was recorded.
    pub recorded_at: Cow<'a, str>,
    /// The place in the history of the aggregate.
    pub sequence: i64,
}

impl Envelope<'_> {
    /// The canonical text of an envelope whose payload and metadata are canonical.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(TEXT_BYTES);
        self.append(&mut text, |json, text| {
            text.extend_from_slice(json);
            Ok(())
        })?;
        Ok(text)
    }

    /// The leaf hash, whatever form payload and metadata have. The canonical text replaces what is in `text`. Fails if payload or
    /// metadata have no canonical form.
    pub fn leaf(&self, text: &mut Vec<u8>) -> serde_json::Result<Hash> {
        text.clear();
        self.append(text, text::rewrite_into)?;
        Ok(leaf::of_canonical(&[text]))
    }

    /// Appends the text. Members come in the order of their names. `json` appends the canonical form of a JSON text.
    fn append(
        &self,
        text: &mut Vec<u8>,
        json: impl Fn(&[u8], &mut Vec<u8>) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        string(text, r#"{"aggregate_id":"#, self.aggregate_id)?;
        string(text, r#","aggregate_type":"#, self.aggregate_type)?;
        string(text, r#","event_type":"#, self.event_type)?;
        string(text, r#","event_version":"#, self.event_version)?;
        text.extend_from_slice(br#","metadata":"#);
        json(self.metadata, text)?;
        string(text, r#","organization_id":"#, self.organization_id)?;
        number(text, r#","organization_sequence":"#, self.organization_sequence)?;
        text.extend_from_slice(br#","payload":"#);
        json(self.payload, text)?;
        string(text, r#","recorded_at":"#, &self.recorded_at)?;
        number(text, r#","sequence":"#, self.sequence)?;
        text.push(b'}');
        Ok(())
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Envelope;
    use crate::leaf;

    const ID: &str = "\"\u{1f600}\u{7f}\n\u{1}";

    fn envelope<'a>(payload: &'a [u8], metadata: &'a [u8]) -> Envelope<'a> {
        Envelope {
            aggregate_id: ID,
            aggregate_type: "identity",
            event_type: "e",
            event_version: "1",
            metadata,
            organization_id: "o",
            organization_sequence: 1,
            payload,
            recorded_at: "t".into(),
            sequence: 1 << 40,
        }
    }

    #[test]
    fn an_envelope_is_written_as_the_library_writes_it() {
        let payload = json!({ "\u{e000}": 1.5, "\u{1f600}": [null, 0.0], "b": { "a": 1_u64 << 40 } });
        let value: Value = json!({
            "aggregate_id": ID, "aggregate_type": "identity", "event_type": "e", "event_version": "1", "metadata": {},
            "organization_id": "o", "organization_sequence": 1, "payload": payload, "recorded_at": "t", "sequence": 1_u64 << 40
        });
        let canonical = serde_json_canonicalizer::to_vec(&payload).unwrap();
        let whole = envelope(&canonical, b"{}").canonical().unwrap();
        assert_eq!(whole, serde_json_canonicalizer::to_vec(&value).unwrap());
        let any =
            "{ \"b\": { \"a\": 1099511627776 }, \"\u{1f600}\": [null, -0.0], \"\u{e000}\": 1.50 }".as_bytes();
        let mut text = b"what was there".to_vec();
        assert_eq!(envelope(any, b" { } ").leaf(&mut text).unwrap(), leaf::of(&value).unwrap());
        assert_eq!(text, whole);
    }
}
