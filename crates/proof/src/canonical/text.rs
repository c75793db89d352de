//! Puts the text of a JSON value into canonical form.
//!
//! Files that others made are read with this. No tree of the value is built: in a tree, `{"":0}` takes 100 times as many bytes as
//! in the text. The output takes at most a few times as many bytes as the input, and so do the places of the members of open objects.
//!
//! Every event of a backup is read with this, so texts without escapes and whole numbers with few digits are copied as they stand.
//! `serde_json` reads the others.

use std::cmp::Ordering;

use serde::de::Error as _;
use serde_json::{Error, Number};

use super::check::compare;
use super::{write_number, write_text};

/// How deep objects and lists may be nested: as deep as `serde_json` reads them.
const MAX_DEPTH: usize = 127;

/// A whole number with at most so many digits is below 2^53.
const PLAIN_DIGITS: usize = 15;

/// The canonical form of a JSON text, if no object in it has a member twice.
pub fn rewrite(json: &[u8]) -> Result<Vec<u8>, Error> {
    let mut text = Vec::with_capacity(json.len());
    rewrite_into(json, &mut text)?;
    Ok(text)
}

/// Appends to `text` what [`rewrite`] returns.
pub fn rewrite_into(json: &[u8], text: &mut Vec<u8>) -> Result<(), Error> {
    std::str::from_utf8(json).map_err(Error::custom)?;
    let mut rewriting = Rewriting { json, at: 0, text, members: vec![], unordered: vec![] };
    rewriting.value(0)?;
    rewriting.skip_space();
    if rewriting.at == json.len() { Ok(()) } else { Err(rewriting.error("the value has ended before")) }
}

/// A text that is being rewritten.
struct Rewriting<'a> {
    json: &'a [u8],
    /// How much of it is read.
    at: usize,
    text: &'a mut Vec<u8>,
    /// The members of the objects that are open, those of the outermost first.
    members: Vec<Member>,
    /// The members of an object before they are put in order. It is kept for its memory.
    unordered: Vec<u8>,
}

/// A member of an object, as places in the canonical text.
struct Member {
    start: usize,
    end: usize,
    /// The length of its name in quotation marks.
    name: u32,
    /// Whether its name is ASCII without escapes.
    is_plain: bool,
}

impl Member {
    /// Its name without quotation marks.
    fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let name = usize::try_from(self.name).unwrap_or(usize::MAX);
        text.get(self.start + 1..self.start + name - 1).unwrap_or_default()
    }

    fn order(&self, other: &Self, text: &[u8]) -> Ordering {
        let (name, other_name) = (self.name(text), other.name(text));
        if self.is_plain && other.is_plain { name.cmp(other_name) } else { compare(name, other_name) }
    }
}

impl Rewriting<'_> {
    fn error(&self, what: &str) -> Error {
        let what = if self.at < self.json.len() { what } else { "the text ends too early" };
        Error::custom(format_args!("byte {}: {what}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Reads a byte, which may have white space before it, if it is the next one.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), Error> {
        if self.takes(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Takes over the next bytes as they stand.
    fn copy(&mut self, length: usize) {
        self.text.extend_from_slice(self.json.get(self.at..self.at + length).unwrap_or_default());
        self.at += length;
    }

    /// Rewrites a value that stands in so many objects and lists.
    fn value(&mut self, depth: usize) -> Result<(), Error> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(self.error("this is nested too deeply")),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<(), Error> {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let word = [&b"null"[..], b"true", b"false"].into_iter().find(|word| rest.starts_with(word));
        let word = word.ok_or_else(|| self.error("a value is expected"))?;
        self.copy(word.len());
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), Error> {
        self.copy(1);
        let mut is_end = self.takes(b']');
        while !is_end {
            self.value(depth)?;
            is_end = self.takes(b']');
            if !is_end {
                self.expect(b',', "a comma or the end of the list is expected")?;
                self.text.push(b',');
            }
        }
        self.text.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Error> {
        self.copy(1);
        if self.takes(b'}') {
            self.text.push(b'}');
            return Ok(());
        }
        let (begin, outer) = (self.text.len(), self.members.len());
        loop {
            self.skip_space();
            let start = self.text.len();
            let is_plain = self.string()?;
            let name = u32::try_from(self.text.len() - start).map_err(Error::custom)?;
            self.expect(b':', "a colon is expected")?;
            self.text.push(b':');
            self.value(depth)?;
            self.text.push(b',');
            self.members.push(Member { start, end: self.text.len(), name, is_plain });
            if self.takes(b'}') {
                break;
            }
            self.expect(b',', "a comma or the end of the object is expected")?;
        }
        self.put_in_order(begin, outer)?;
        // The comma behind the last member becomes the closing brace.
        self.text.pop();
        self.text.push(b'}');
        Ok(())
    }

    /// Puts the members of an object into the order of their names. The object begins at `begin`, its members are those from
    /// `outer` on.
    fn put_in_order(&mut self, begin: usize, outer: usize) -> Result<(), Error> {
        let members = self.members.get_mut(outer..).unwrap_or_default();
        let text: &[u8] = self.text;
        if !members.is_sorted_by(|one, other| one.order(other, text) == Ordering::Less) {
            members.sort_unstable_by(|one, other| one.order(other, text));
            let mut pairs = members.iter().zip(members.iter().skip(1));
            if let Some((twice, _)) = pairs.find(|(one, other)| one.order(other, text) == Ordering::Equal) {
                let name = String::from_utf8_lossy(twice.name(text));
                return Err(Error::custom(format_args!("duplicate field `{name}`")));
            }
            self.unordered.clear();
            self.unordered.extend_from_slice(text.get(begin..).unwrap_or_default());
            self.text.truncate(begin);
            for Member { start, end, .. } in members {
                self.text
                    .extend_from_slice(self.unordered.get(*start - begin..*end - begin).unwrap_or_default());
            }
        }
        self.members.truncate(outer);
        Ok(())
    }

    /// Returns whether the string is ASCII without escapes.
    fn string(&mut self) -> Result<bool, Error> {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let Some((b'"', rest)) = rest.split_first() else { return Err(self.error("a string is expected")) };
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        match rest.get(length) {
            Some(b'"') => {
                let is_ascii = rest.get(..length).is_some_and(<[u8]>::is_ascii);
                self.copy(length + 2);
                Ok(is_ascii)
            }
            Some(b'\\') => self.string_with_escapes().map(|()| false),
            Some(_) => Err(self.error("a string has a control character that is not escaped")),
            None => Err(self.error("a string has no end")),
        }
    }

    fn string_with_escapes(&mut self) -> Result<(), Error> {
        let mut end = self.at + 1;
        while let Some(byte) = self.json.get(end).filter(|byte| **byte != b'"') {
            end += if *byte == b'\\' { 2 } else { 1 };
        }
        let string = self.json.get(self.at..=end).ok_or_else(|| self.error("a string has no end"))?;
        write_text(&serde_json::from_slice::<String>(string)?, self.text)?;
        self.at = end + 1;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let number = rest.get(..length).unwrap_or_default();
        if is_plain(number) {
            self.copy(length);
        } else {
            write_number(&serde_json::from_slice::<Number>(number)?, self.text)?;
            self.at += length;
        }
        Ok(())
    }
}

/// Whether a number is a whole one with few digits in its canonical form.
fn is_plain(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let has_leading_zero = digits.first() == Some(&b'0') && number != b"0";
    (1..=PLAIN_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) && !has_leading_zero
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

        #[test]
        fn a_text_is_read_if_the_library_reads_it(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = serde_json::to_vec_pretty(&value).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            match (rewrite(&text), serde_json::from_slice::<Value>(&text)) {
                (Ok(canonical), Ok(value)) => prop_assert_eq!(canonical, serde_json_canonicalizer::to_vec(&value).unwrap()),
                (Err(error), Ok(_)) => prop_assert!(error.to_string().contains("duplicate field"), "{}", error),
                (rewritten, Err(_)) => prop_assert!(rewritten.is_err(), "{:?}", rewritten),
            }
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
            ("1 2", "the value has ended before"),
            ("[1", "the text ends too early"),
            (r#"{"a":1,}"#, "a string is expected"),
            (r#"{"a" 1}"#, "a colon"),
            (r#"{"a":1 "b":2}"#, "a comma or the end of the object"),
            ("[1,]", "a value is expected"),
            ("[1 2]", "a comma or the end of the list"),
            ("\"\n\"", "a control character"),
            (r#""a"#, "a string has no end"),
            (r#""a\""#, "a string has no end"),
            (r#""\ud800""#, "end of hex escape"),
            ("01", "invalid number"),
            ("1.", "EOF"),
            ("1e999", "number out of range"),
            (&deep(128), "nested too deeply"),
        ] {
            let error = rewrite(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
