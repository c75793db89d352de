//! The lines of an export: the canonical envelope of an event followed by its signed leaf hash, and the trailer.

use identity_proof::canonical::check::is_exact_integer;
use identity_proof::{Hash, canonical, leaf};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    pub payload: Value,
    /// The actor and the request that caused it.
    pub metadata: Value,
}

impl Envelope {
    /// The canonical text. Members come in the order of their names.
    fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(TEXT_BYTES);
        string(&mut text, r#"{"aggregate_id":"#, &self.aggregate_id)?;
        string(&mut text, r#","aggregate_type":"#, &self.aggregate_type)?;
        string(&mut text, r#","event_type":"#, &self.event_type)?;
        string(&mut text, r#","event_version":"#, &self.event_version)?;
        value(&mut text, r#","metadata":"#, &self.metadata)?;
        string(&mut text, r#","organization_id":"#, &self.organization_id)?;
        value(&mut text, r#","organization_sequence":"#, &self.organization_sequence.into())?;
        value(&mut text, r#","payload":"#, &self.payload)?;
        string(&mut text, r#","recorded_at":"#, &self.recorded_at)?;
        value(&mut text, r#","sequence":"#, &self.sequence.into())?;
        text.push(b'}');
        Ok(text)
    }
}

/// Appends a member whose value is a text. A canonical text is escaped as `serde_json` does it.
fn string(text: &mut Vec<u8>, name: &str, value: &str) -> serde_json::Result<()> {
    text.extend_from_slice(name.as_bytes());
    serde_json::to_writer(text, value)
}

/// Appends a member with any other value.
fn value(text: &mut Vec<u8>, name: &str, value: &Value) -> serde_json::Result<()> {
    text.extend_from_slice(name.as_bytes());
    canonical::write(value, text)
}

/// The beginning of the last row of an export as a table. Rows of events begin with the id of an organization.
pub(crate) const TABLE_TRAILER_START: &[u8] = b"trailer,";

/// The beginning of the last line. No envelope begins like that.
pub(crate) const TRAILER_START: &[u8] = br#"{"trailer":"#;

/// The text between an envelope and its leaf hash.
const SEAL_START: &[u8] = br#","leaf_hash":""#;

/// The text after the leaf hash.
const SEAL_END: &[u8] = br#""}"#;

/// Room for most events.
const TEXT_BYTES: usize = 1024;

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
    /// An event that was not read from a line, with the leaf hash that was signed for it.
    pub fn of(envelope: Envelope, signed: Hash) -> anyhow::Result<Self> {
        let leaf = leaf::of_canonical(&[&envelope.canonical()?]);
        let event = Outline {
            organization_sequence: u64::try_from(envelope.organization_sequence)?,
            sequence: u64::try_from(envelope.sequence)?,
            organization_id: envelope.organization_id,
            aggregate_type: envelope.aggregate_type,
            aggregate_id: envelope.aggregate_id,
            recorded_at: envelope.recorded_at,
            _event_type: Unambiguous,
            _event_version: Unambiguous,
            _payload: Unambiguous,
            _metadata: Unambiguous,
            leaf_hash: None,
        };
        Ok(Self { event, leaf, signed: Some(signed) })
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
    #[serde(rename = "payload")]
    _payload: Unambiguous,
    #[serde(rename = "metadata")]
    _metadata: Unambiguous,
    leaf_hash: Option<String>,
}

impl Outline {
    fn read(line: &[u8]) -> Result<Self, String> {
        let outline: Self = serde_json::from_slice(line).map_err(unreadable)?;
        let places = [outline.organization_sequence, outline.sequence];
        if places.iter().all(|place| is_exact_integer(i128::from(*place))) {
            Ok(outline)
        } else {
            Err(unreadable("a number is beyond 2^53"))
        }
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
    let leaf = leaf::of(&parse(line)?).map_err(unreadable)?;
    Ok(Read { event, leaf, signed })
}

/// The event of a line, in full.
pub fn envelope(line: &[u8]) -> Result<Envelope, String> {
    Outline::read(line)?;
    parse(line)
}

fn parse(line: &[u8]) -> Result<Envelope, String> {
    let mut members: serde_json::Map<String, Value> = serde_json::from_slice(line).map_err(unreadable)?;
    members.remove("leaf_hash");
    serde_json::from_value(Value::Object(members)).map_err(unreadable)
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
    use serde_json::json;

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
        let mut envelope: Envelope = serde_json::from_str(EVENT).unwrap();
        envelope.aggregate_id = "\"\u{1f600}\u{7f}\n\u{1}".to_owned();
        envelope.payload = json!({ "\u{e000}": 1.5, "\u{1f600}": [null, -0.0], "b": { "a": 1_u64 << 60 } });
        envelope.sequence = i64::MAX;
        let expected = serde_json_canonicalizer::to_vec(&envelope).unwrap();
        assert_eq!(envelope.canonical().unwrap(), expected);
        assert_eq!(leaf::of(&envelope).unwrap(), leaf::of_canonical(&[&expected]));
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
