//! Writes RFC 8785 canonical JSON, faster than the library `serde_json_canonicalizer`: every event that is written
//! needs it.
//!
//! Most values of this service have ASCII names and whole numbers. Their canonical form only sorts the members and leaves
//! out spaces. Other numbers are written by the library.

pub mod check;
pub mod text;

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// 2^53: a double represents every whole number from 0 up to this one exactly.
const LARGEST_EXACT: u64 = 1 << 53;

/// Appends the canonical form of `value` to `text`.
pub fn write(value: &Value, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by(|(one, _), (other, _)| by_utf_16(one, other));
            text.push(b'{');
            for (place, (name, value)) in members.into_iter().enumerate() {
                separate(place, text);
                write_text(name, text)?;
                text.push(b':');
                write(value, text)?;
            }
            text.push(b'}');
        }
        Value::Array(values) => {
            text.push(b'[');
            for (place, value) in values.iter().enumerate() {
                separate(place, text);
                write(value, text)?;
            }
            text.push(b']');
        }
        Value::Number(number) => write_number(number, text)?,
        Value::Null | Value::Bool(_) | Value::String(_) => serde_json::to_writer(text, value)?,
    }
    Ok(())
}

fn write_number(number: &Number, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    if is_plain(number) {
        return serde_json::to_writer(text, number);
    }
    text.extend(serde_json_canonicalizer::to_vec(number)?);
    Ok(())
}

/// A canonical text is escaped as `serde_json` does it.
fn write_text(value: &str, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    serde_json::to_writer(text, value)
}

fn separate(place: usize, text: &mut Vec<u8>) {
    if place > 0 {
        text.push(b',');
    }
}

fn is_plain(number: &Number) -> bool {
    number.as_i64().is_some_and(|number| number.unsigned_abs() <= LARGEST_EXACT)
}

/// The order of names: by UTF-16 code units. For ASCII that is the order of the bytes.
fn by_utf_16(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        one.cmp(other)
    } else {
        one.encode_utf16().cmp(other.encode_utf16())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::write;

    fn canonical(value: &Value) -> String {
        let mut text = Vec::new();
        write(value, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    pub(super) fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-9_100_000_000_000_000_i64..9_100_000_000_000_000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec(("[a-c_\u{e000}\u{1f600}]{0,3}", inner), 0..8)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_the_library_writes_it(value in value()) {
            prop_assert_eq!(canonical(&value), serde_json_canonicalizer::to_string(&value).unwrap());
        }
    }

    #[test]
    fn members_stand_in_the_order_of_utf_16() {
        let value =
            json!({"\u{e000}": 1, "\u{1f600}": 2, "b": [1.0, 1e30, -0.0], "a": {"d": null, "c": "\u{7f}\n"}});
        let expected =
            "{\"a\":{\"c\":\"\u{7f}\\n\",\"d\":null},\"b\":[1,1e+30,0],\"\u{1f600}\":2,\"\u{e000}\":1}";
        assert_eq!(canonical(&value), expected);
    }
}
