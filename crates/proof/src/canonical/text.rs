//! Puts the text of a JSON value into canonical form.
//!
//! Files that others made are read with this. No tree of the value is built: in a tree, `{"":0}` takes 100 times as many bytes as
//! in the text. The output takes at most a few times as many bytes as the input, and so do the places of the members of open objects.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::check::compare;
use super::{write_number, write_text};

/// The canonical form of a JSON text, if no object in it has a member twice.
pub fn rewrite(json: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(json.len());
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.deserialize_any(Value(&mut text))?;
    deserializer.end()?;
    Ok(text)
}

/// Appends the canonical form of one value to a text.
struct Value<'a>(&'a mut Vec<u8>);

/// A member of an object, as places in the text behind the beginning of the object.
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
}

impl Value<'_> {
    fn number<E: Error>(self, number: &Number) -> Result<(), E> {
        write_number(number, self.0).map_err(E::custom)
    }

    fn word(self, word: &str) {
        self.0.extend_from_slice(word.as_bytes());
    }

    /// Ends a list or an object: the comma behind the last element, if there is one, becomes the closing bracket.
    fn close(self, bracket: u8) {
        if self.0.last() == Some(&b',') {
            self.0.pop();
        }
        self.0.push(bracket);
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.word("null");
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.word(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.number(&number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.number(&number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("a number is infinite"))?;
        self.number(&number)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        write_text(value, self.0).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        while values.next_element_seed(Value(self.0))?.is_some() {
            self.0.push(b',');
        }
        self.close(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        self.0.push(b'{');
        let begin = self.0.len();
        let mut members = vec![];
        loop {
            let start = self.0.len() - begin;
            if values.next_key_seed(Value(self.0))?.is_none() {
                break;
            }
            let name_end = self.0.len() - begin;
            self.0.push(b':');
            values.next_value_seed(Value(self.0))?;
            self.0.push(b',');
            members.push(Member { start, name_end, end: self.0.len() - begin });
        }
        put_in_order(self.0, begin, members).map_err(A::Error::custom)?;
        self.close(b'}');
        Ok(())
    }
}

/// Puts the members of an object, each with its comma, into the order of their names. The object begins at `begin`.
fn put_in_order(text: &mut Vec<u8>, begin: usize, mut members: Vec<Member>) -> Result<(), String> {
    let unordered = text.get(begin..).unwrap_or_default();
    let name = |member: &Member| unordered.get(member.start + 1..member.name_end - 1).unwrap_or_default();
    let order = |one: &Member, other: &Member| compare(name(one), name(other));
    if members.is_sorted_by(|one, other| order(one, other) == Ordering::Less) {
        return Ok(());
    }
    members.sort_unstable_by(order);
    let mut pairs = members.iter().zip(members.iter().skip(1));
    if let Some((twice, _)) = pairs.find(|(one, other)| order(one, other) == Ordering::Equal) {
        return Err(format!("duplicate field `{}`", String::from_utf8_lossy(name(twice))));
    }
    let unordered = text.split_off(begin);
    let pieces = members.iter().filter_map(|member| unordered.get(member.start..member.end));
    pieces.for_each(|member| text.extend_from_slice(member));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::tests::value;
    use super::rewrite;

    proptest! {
        #[test]
        fn any_text_is_put_into_the_form_that_the_library_writes(value in value()) {
            let text = serde_json::to_vec(&value).unwrap();
            let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(rewrite(&text).unwrap(), canonical);
        }
    }

    #[test]
    fn members_in_any_order_with_any_spelling_have_one_form() {
        let text = "{ \"\u{e000}\": 1, \"\\ud83d\\ude00\": [ ], \"b\\n\": [1.0, 1e3, -0.0, { }], \"\\u0061\": {\"d\": null, \"c\": true}}";
        let expected =
            "{\"a\":{\"c\":true,\"d\":null},\"b\\n\":[1,1000,0,{}],\"\u{1f600}\":[],\"\u{e000}\":1}";
        assert_eq!(String::from_utf8(rewrite(text.as_bytes()).unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_no_text_of_one_value_has_is_refused() {
        let deep = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        serde_json::from_slice::<Value>(deep(127).as_bytes()).unwrap();
        rewrite(deep(127).as_bytes()).unwrap();
        for (text, what) in [
            (r#"{"b":1,"a":2,"\u0062":3}"#, "duplicate field `b`"),
            (r#"[{"a":1,"a":1}]"#, "duplicate field `a`"),
            ("1 2", "trailing characters"),
            ("[1", "EOF"),
            ("1e999", "number out of range"),
            (&deep(128), "recursion limit"),
        ] {
            let error = rewrite(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
