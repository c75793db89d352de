//! The lines of an export: the canonical envelope of an event followed by its signed leaf hash, and the trailer.

use std::collections::BTreeMap;

use identity_proof::canonical::check::is_exact_integer;
use identity_proof::{Hash, envelope, leaf};
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::CanonicalJson;
use crate::unambiguous::Unambiguous;

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
        self.members().leaf()
    }

    /// The canonical text.
    fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        self.members().canonical()
    }

    fn members(&self) -> envelope::Envelope<'_> {
        envelope::Envelope {
            aggregate_id: &self.aggregate_id,
            aggregate_type: &self.aggregate_type,
            event_type: &self.event_type,
            event_version: &self.event_version,
            metadata: self.metadata.as_str().as_bytes(),
            organization_id: &self.organization_id,
            organization_sequence: self.organization_sequence,
            payload: self.payload.as_str().as_bytes(),
            recorded_at: &self.recorded_at,
            sequence: self.sequence,
        }
    }
}

/// The beginning of the last row of an export as a table. Rows of events begin with the id of an organization.
pub(crate) const TABLE_TRAILER_START: &[u8] = b"trailer,";

/// The beginning of the last line. No envelope begins like that.
pub(crate) const TRAILER_START: &[u8] = br#"{"trailer":"#;

/// The text between an envelope and its leaf hash.
const SEAL_START: &[u8] = br#","leaf_hash":""#;

/// The text after the leaf hash.
const SEAL_END: &[u8] = br#""}"#;

/// How many values payload and metadata of an event may have together. Objects, lists, and each member or element count as values.
/// - A body of 1 MiB has at most half a million.
/// - The longest line, an event with 290,000 viewers, has three for each viewer.
const MAX_VALUES: u64 = 1_000_000;

/// How long a hash is in base64.
const HASH_LENGTH: usize = 44;

/// Writes a line: the canonical text of the envelope, with the signed hash as a further member at its end.
pub fn write(envelope: &Envelope, signed: Option<&Hash>) -> serde_json::Result<Vec<u8>> {
    let mut line = envelope.canonical()?;
    if let Some(hash) = signed {
        line.pop();
        line.extend_from_slice(SEAL_START);
        line.extend_from_slice(hash.to_string().as_bytes());
        line.extend_from_slice(SEAL_END);
    }
    line.push(b'\n');
    Ok(line)
}

/// An event that was read.
#[derive(Debug)]
pub struct Read {
    /// Its event, without payload and metadata.
    pub event: Outline,
    /// The leaf hash, computed from the event as it was read.
    pub leaf: Hash,
    /// The leaf hash that the line says was signed.
    pub signed: Option<Hash>,
}

impl Read {
    /// An event that was not read from a line, without the leaf hash that was signed for it.
    pub fn of(envelope: Envelope) -> anyhow::Result<Self> {
        let leaf = envelope.leaf()?;
        let event = Outline {
            organization_sequence: u64::try_from(envelope.organization_sequence)?,
            sequence: u64::try_from(envelope.sequence)?,
            organization_id: envelope.organization_id,
            aggregate_type: envelope.aggregate_type,
            aggregate_id: envelope.aggregate_id,
            recorded_at: envelope.recorded_at,
            _event_type: Unambiguous(0),
            _event_version: Unambiguous(0),
            payload: Unambiguous(0),
            metadata: Unambiguous(0),
            leaf_hash: None,
        };
        Ok(Self { event, leaf, signed: None })
    }
}

/// The members that are checked for gaps and order. A line has the members of an envelope and perhaps a leaf hash, each
/// of them once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// The organization.
    pub organization_id: String,
    /// Its place in the history of the organization: 1, 2, 3 … without gaps.
    pub organization_sequence: u64,
    /// The type of its aggregate.
    pub aggregate_type: String,
    /// The id of its aggregate.
    pub aggregate_id: String,
    /// Its place in the history of the aggregate, likewise.
    pub sequence: u64,
    /// The moment at which it was recorded.
    pub recorded_at: String,
    #[serde(rename = "event_type")]
    _event_type: Unambiguous,
    #[serde(rename = "event_version")]
    _event_version: Unambiguous,
    payload: Unambiguous,
    metadata: Unambiguous,
    leaf_hash: Option<String>,
}

impl Outline {
    fn read(line: &[u8]) -> Result<Self, String> {
        let outline: Self = serde_json::from_slice(line).map_err(unreadable)?;
        let places = [outline.organization_sequence, outline.sequence];
        if !places.iter().all(|place| is_exact_integer(i128::from(*place))) {
            return Err(unreadable("a number is beyond 2^53"));
        }
        if outline.payload.0 + outline.metadata.0 > MAX_VALUES {
            return Err(format!("this line has more than {MAX_VALUES} values, which no event has"));
        }
        Ok(outline)
    }

    fn signed(&self) -> Result<Option<Hash>, String> {
        let hash = self.leaf_hash.as_deref().map(Hash::parse_hash).transpose();
        hash.map_err(|_| "its leaf hash is not one".to_owned())
    }
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("this is no event: {error}")
}

/// Reads a line. The lines of an export are canonical text: if the hash of the text is the signed one, the text is what
/// was signed, byte by byte. Otherwise the envelope is put into canonical form first. A signed hash over text that is
/// not canonical is refused.
pub fn read(line: &[u8]) -> Result<Read, String> {
    let event = Outline::read(line)?;
    let (text, seal) = unseal(line);
    if let Some(seal) = seal
        && seal == leaf::of_canonical(&[text, b"}"])
    {
        let leaf = leaf::of_text(&[text, b"}"].concat());
        let leaf = leaf.map_err(|error| format!("what was signed is not canonical JSON: {error}"))?;
        return Ok(Read { event, leaf, signed: Some(seal) });
    }
    let signed = event.signed()?;
    let leaf = parse(line)?.leaf().map_err(unreadable)?;
    Ok(Read { event, leaf, signed })
}

/// The event of a line, in full.
pub fn envelope(line: &[u8]) -> Result<Envelope, String> {
    Outline::read(line)?;
    parse(line)
}

/// The event of a line whose members are those of an [`Outline`].
fn parse(line: &[u8]) -> Result<Envelope, String> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_slice(line).map_err(unreadable)?;
    members.remove("leaf_hash");
    Envelope::deserialize(MapDeserializer::new(members.into_iter())).map_err(unreadable)
}

/// The envelope without its closing brace, and the hash after it.
fn unseal(line: &[u8]) -> (&[u8], Option<Hash>) {
    let length = SEAL_START.len() + HASH_LENGTH + SEAL_END.len();
    let Some((envelope, seal)) = line.len().checked_sub(length).and_then(|at| line.split_at_checked(at))
    else {
        return (line, None);
    };
    let hash = seal.strip_prefix(SEAL_START).and_then(|rest| rest.strip_suffix(SEAL_END));
    let hash =
        hash.and_then(|hash| std::str::from_utf8(hash).ok()).and_then(|hash| Hash::parse_hash(hash).ok());
    (envelope, hash)
}

#[cfg(test)]
mod tests {
    use identity_proof::leaf;
    use serde::Deserialize as _;
    use serde_json::{Map, Value, json};

    use super::{Envelope, SEAL_END, SEAL_START, read};

    const EVENT: &str = r#"{"aggregate_id":"a","aggregate_type":"identity","event_type":"e","event_version":"1","metadata":{},"organization_id":"o","organization_sequence":1,"payload":{"b":1,"c":2},"recorded_at":"t","sequence":1}"#;

    /// A line whose leaf hash was signed over its text as it stands.
    fn sealed(event: &str) -> Vec<u8> {
        let hash = leaf::of_canonical(&[event.as_bytes()]).to_string();
        let envelope = event.strip_suffix('}').unwrap().as_bytes();
        [envelope, SEAL_START, hash.as_bytes(), SEAL_END].concat()
    }

    #[test]
    fn an_envelope_is_written_as_the_library_writes_it() {
        let mut value: Value = serde_json::from_str(EVENT).unwrap();
        value["aggregate_id"] = "\"\u{1f600}\u{7f}\n\u{1}".into();
        value["payload"] = json!({ "\u{e000}": 1.5, "\u{1f600}": [null, -0.0], "b": { "a": 1_u64 << 60 } });
        value["sequence"] = i64::MAX.into();
        let envelope = Envelope::deserialize(&value).unwrap();
        assert_eq!(serde_json::to_value(&envelope).unwrap().as_object().map(Map::len), Some(10));
        assert_eq!(envelope.canonical().unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        assert_eq!(envelope.leaf().unwrap(), leaf::of(&value).unwrap());
    }

    #[test]
    fn a_leaf_over_text_that_is_not_canonical_is_refused() {
        read(&sealed(EVENT)).unwrap();
        for (canonical, other) in [
            (r#"{"b":1,"c":2}"#, r#"{"c":2,"b":1}"#),
            (r#"{"b":1,"c":2}"#, r#"{"b":1, "c":2}"#),
            (r#""e""#, r#""\u0065""#),
            (r#"{"b":1,"#, r#"{"b":1.0,"#),
        ] {
            let error = read(&sealed(&EVENT.replace(canonical, other))).unwrap_err();
            assert!(error.starts_with("what was signed is not canonical JSON"), "{other}: {error}");
        }
    }

    #[test]
    fn a_number_beyond_what_every_reader_holds_is_refused() {
        let with = |number: &str| EVENT.replace("\"b\":1,", &format!("\"b\":{number},"));
        read(&sealed(&with("9007199254740992"))).unwrap();
        for number in ["9007199254740993", "-9007199254740993", "100000000000000000001", "1e+30"] {
            for line in [sealed(&with(number)), with(number).into_bytes()] {
                let error = read(&line).unwrap_err();
                assert!(error.contains("beyond 2^53"), "{number}: {error}");
            }
        }
        let late = EVENT.replace("\"sequence\":1}", "\"sequence\":9007199254740993}");
        assert!(read(late.as_bytes()).unwrap_err().contains("beyond 2^53"));
    }
}
