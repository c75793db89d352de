//! The lines of an export: the canonical envelope of an event followed by its signed leaf hash, and the trailer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use identity_proof::canonical::check::is_exact_integer;
use identity_proof::envelope::Envelope as Members;
use identity_proof::{Hash, leaf};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde_json::value::RawValue;

use crate::envelope::Envelope;
use crate::unambiguous::Unambiguous;

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
pub struct Read<'a> {
    /// Its event, without payload and metadata.
    pub event: Outline<'a>,
    /// The leaf hash, computed from the event as it was read.
    pub leaf: Hash,
    /// The leaf hash that the line says was signed.
    pub signed: Option<Hash>,
}

impl<'a> Read<'a> {
    /// An event that was not read from a line, without the leaf hash that was signed for it. `text` is room for its canonical text.
    pub fn of(envelope: Members<'a>, text: &mut Vec<u8>) -> anyhow::Result<Self> {
        let leaf = envelope.leaf(text)?;
        let event = Outline {
            organization_sequence: u64::try_from(envelope.organization_sequence)?,
            sequence: u64::try_from(envelope.sequence)?,
            organization_id: envelope.organization_id.into(),
            aggregate_type: envelope.aggregate_type.into(),
            aggregate_id: envelope.aggregate_id.into(),
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
pub struct Outline<'a> {
    /// The organization.
    #[serde(borrow)]
    pub organization_id: Cow<'a, str>,
    /// Its place in the history of the organization: 1, 2, 3 … without gaps.
    pub organization_sequence: u64,
    /// The type of its aggregate.
    #[serde(borrow)]
    pub aggregate_type: Cow<'a, str>,
    /// The id of its aggregate.
    #[serde(borrow)]
    pub aggregate_id: Cow<'a, str>,
    /// Its place in the history of the aggregate, likewise.
    pub sequence: u64,
    /// The moment at which it was recorded.
    #[serde(borrow)]
    pub recorded_at: Cow<'a, str>,
    #[serde(rename = "event_type")]
    _event_type: Unambiguous,
    #[serde(rename = "event_version")]
    _event_version: Unambiguous,
    payload: Unambiguous,
    metadata: Unambiguous,
    leaf_hash: Option<String>,
}

impl<'a> Outline<'a> {
    fn read(line: &'a [u8]) -> Result<Self, String> {
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
pub fn read(line: &[u8]) -> Result<Read<'_>, String> {
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

    use super::{SEAL_END, SEAL_START, read};

    const EVENT: &str = r#"{"aggregate_id":"a","aggregate_type":"identity","event_type":"e","event_version":"1","metadata":{},"organization_id":"o","organization_sequence":1,"payload":{"b":1,"c":2},"recorded_at":"t","sequence":1}"#;

    /// A line whose leaf hash was signed over its text as it stands.
    fn sealed(event: &str) -> Vec<u8> {
        let hash = leaf::of_canonical(&[event.as_bytes()]).to_string();
        let envelope = event.strip_suffix('}').unwrap().as_bytes();
        [envelope, SEAL_START, hash.as_bytes(), SEAL_END].concat()
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
