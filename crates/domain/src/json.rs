//! JSON values that others wrote.
//!
//! When `serde_json` deserializes a [`Value`], an object whose first member is `$serde_json::private::RawValue` becomes what the text
//! of this member says, and with some features `$serde_json::private::Number` becomes a number. Clients must not be able to write
//! one value as another, or to hide levels of nesting in a text. So a value of others is deserialized as [`Plain`], for which no
//! name of a member is special.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::{Map, Number, Value};

/// A value in which every member is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain(pub Value);

/// The value of a JSON text.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text).map(|Plain(value)| value)
}

/// The value that something is serialized to. Unlike `serde_json::to_value`, this leaves text that is in it as JSON unchanged.
pub fn of(serialized: &impl Serialize) -> serde_json::Result<Value> {
    parse(&serde_json::to_vec(serialized)?)
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(Plain(value)) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Plain(value))) = members.next_entry()? {
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{of, parse};

    /// A value by its text, so that the test does not depend on how a value is deserialized.
    fn text(value: &Value) -> String {
        value.to_string()
    }

    #[test]
    fn no_name_of_a_member_is_special() {
        for name in ["$serde_json::private::RawValue", "$serde_json::private::Number", "other"] {
            for value in ["\"{\\\"a\\\":1}\"", "\"{\"", "7", "{}", "[null]"] {
                let object = format!("{{\"{name}\":{value}}}");
                for json in [object.clone(), format!("{{\"a\":[{object}]}}")] {
                    let parsed = parse(json.as_bytes()).unwrap();
                    assert_eq!(text(&parsed), json);
                    assert_eq!(text(&of(&parsed).unwrap()), json);
                }
            }
        }
    }

    #[test]
    fn every_other_value_is_the_one_that_the_library_makes() {
        for json in [
            "null",
            "true",
            "0",
            "-1",
            "18446744073709551615",
            "-9223372036854775808",
            "1.0",
            "-0.0",
            "1e300",
            "123456789012345678901234567890",
            "\"\\u00e9\\n\"",
            "[]",
            "{}",
            r#"{"b":1,"a":[2,{"c":null}],"b":3}"#,
        ] {
            let expected: Value = serde_json::from_str(json).unwrap();
            assert_eq!(parse(json.as_bytes()).unwrap(), expected, "{json}");
        }
        for json in ["", "{", "1 2", "1e999", "nul", "\"\\ud800\"", &"[".repeat(128)] {
            let expected = serde_json::from_str::<Value>(json).unwrap_err();
            assert_eq!(parse(json.as_bytes()).unwrap_err().to_string(), expected.to_string());
        }
    }
}
