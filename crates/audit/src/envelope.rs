//! The envelope of an event: what is hashed.

use identity_proof::canonical::{self, text};
use identity_proof::{Hash, leaf};
use serde::{Deserialize, Serialize};

use crate::json::CanonicalJson;

/// Room for most events.
const TEXT_BYTES: usize = 1024;

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

/// The same members, borrowed from where the event is stored. Payload and metadata are JSON text in any form.
#[derive(Debug, Clone)]
pub struct StoredEnvelope<'a> {
    /// The organization.
    pub organization_id: &'a str,
    /// Its place in the history of the organization.
    pub organization_sequence: i64,
    /// The type of its aggregate.
    pub aggregate_type: &'a str,
    /// The id of its aggregate.
    pub aggregate_id: &'a str,
    /// Its place in the history of the aggregate.
    pub sequence: i64,
    /// The type of the event.
    pub event_type: &'a str,
    /// The event version.
    pub event_version: &'a str,
    /// The moment at which it was recorded.
    pub recorded_at: String,
    /// The payload.
    pub payload: &'a [u8],
    /// The actor and the request that caused it.
    pub metadata: &'a [u8],
}

impl Envelope {
    /// The leaf hash.
    pub fn leaf(&self) -> serde_json::Result<Hash> {
        Ok(leaf::of_canonical(&[&self.canonical()?]))
    }

    /// The canonical text.
    pub(crate) fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(TEXT_BYTES);
        let stored = StoredEnvelope {
            organization_id: &self.organization_id,
            organization_sequence: self.organization_sequence,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            recorded_at: self.recorded_at.clone(),
            payload: self.payload.as_str().as_bytes(),
            metadata: self.metadata.as_str().as_bytes(),
        };
        stored.write(&mut text, |json, text| {
            text.extend_from_slice(json);
            Ok(())
        })?;
        Ok(text)
    }
}

impl StoredEnvelope<'_> {
    /// Appends the canonical text. Fails if an object in it has a member twice.
    pub(crate) fn write_canonical(&self, text: &mut Vec<u8>) -> serde_json::Result<()> {
        self.write(text, text::rewrite_into)
    }

    /// Appends the text. Members come in the order of their names. `json` appends the canonical form of a JSON text.
    fn write(
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
    use identity_proof::leaf;
    use serde::Deserialize as _;
    use serde_json::{Map, Value, json};

    use super::{Envelope, StoredEnvelope};

    const EVENT: &str = r#"{"aggregate_id":"a","aggregate_type":"identity","event_type":"e","event_version":"1","metadata":{},"organization_id":"o","organization_sequence":1,"payload":{"b":1,"c":2},"recorded_at":"t","sequence":1}"#;

    #[test]
    fn an_envelope_is_written_as_the_library_writes_it() {
        let mut value: Value = serde_json::from_str(EVENT).unwrap();
        value["aggregate_id"] = "\"\u{1f600}\u{7f}\n\u{1}".into();
        value["payload"] = json!({ "\u{e000}": 1.5, "\u{1f600}": [null, -0.0], "b": { "a": 1_u64 << 60 } });
        value["sequence"] = i64::MAX.into();
        let envelope = Envelope::deserialize(&value).unwrap();
        assert_eq!(serde_json::to_value(&envelope).unwrap().as_object().map(Map::len), Some(10));
        let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
        assert_eq!(envelope.canonical().unwrap(), canonical);
        assert_eq!(envelope.leaf().unwrap(), leaf::of(&value).unwrap());

        let payload =
            "{ \"b\": { \"a\": 1152921504606846976 }, \"\u{1f600}\": [null, -0.0], \"\u{e000}\": 1.50 }";
        let stored = StoredEnvelope {
            organization_id: "o",
            organization_sequence: 1,
            aggregate_type: "identity",
            aggregate_id: "\"\u{1f600}\u{7f}\n\u{1}",
            sequence: i64::MAX,
            event_type: "e",
            event_version: "1",
            recorded_at: "t".to_owned(),
            payload: payload.as_bytes(),
            metadata: b" { } ",
        };
        let mut text = b"what was there ".to_vec();
        stored.write_canonical(&mut text).unwrap();
        assert_eq!(text.strip_prefix(b"what was there "), Some(&canonical[..]));
    }
}
