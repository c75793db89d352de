//! Checks that a text is canonical JSON.
//!
//! A leaf hash is computed over text, but an auditor reads the value. Each value must have one text only: otherwise two
//! different leaves would read the same. And each text must have one value only: a reader that keeps numbers as doubles
//! would confuse large ones. So a verifier accepts canonical text only, with numbers up to 2^53 only.

use std::cmp::Ordering;

use super::{LARGEST_EXACT, by_utf_16};

/// How deep objects and lists may be nested. `serde_json` reads one level less.
const MAX_DEPTH: usize = 128;

/// Why a text is not canonical, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct NotCanonical {
    /// The offset in bytes.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Checks that `text` is one JSON value in canonical form, without numbers beyond 2^53.
pub fn check(text: &[u8]) -> Result<(), NotCanonical> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(NotCanonical { at: error.valid_up_to(), what: "this is not UTF-8" });
    }
    let mut scanner = Scanner { text, at: 0 };
    scanner.value(0)?;
    if scanner.at == text.len() { Ok(()) } else { Err(scanner.error("the value has ended before")) }
}

/// Whether the number is at most 2^53. Up to there a reader that keeps numbers as doubles confuses no two whole numbers.
pub fn is_exact(number: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    const LIMIT: f64 = LARGEST_EXACT as f64;
    number.abs() <= LIMIT
}

/// The same for a whole number: 2^53 + 1, read as a double, would be 2^53.
pub fn is_exact_integer(number: i128) -> bool {
    number.unsigned_abs() <= u128::from(LARGEST_EXACT)
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    const fn error(&self, what: &'static str) -> NotCanonical {
        NotCanonical { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), NotCanonical> {
        if self.takes(byte) { Ok(()) } else { Err(self.error(what)) }
    }

    fn value(&mut self, depth: usize) -> Result<(), NotCanonical> {
        if depth > MAX_DEPTH {
            return Err(self.error("this is nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<(), NotCanonical> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = [&b"null"[..], b"true", b"false"].into_iter().find(|word| rest.starts_with(word));
        let word = word.ok_or_else(|| self.error("a value is expected, without white space before it"))?;
        self.at += word.len();
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the list is expected, without white space before it")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), NotCanonical> {
        self.at += 1;
        if self.takes(b'}') {
            return Ok(());
        }
        let mut last: Option<&'a [u8]> = None;
        loop {
            let start = self.at;
            let name = self.string()?;
            if last.is_some_and(|last| compare(last, name) != Ordering::Less) {
                return Err(NotCanonical { at: start, what: "this member is not in the order of names" });
            }
            last = Some(name);
            self.expect(b':', "a colon is expected, without white space before it")?;
            self.value(depth + 1)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the object is expected, without white space before it")?;
        }
    }

    /// Reads a string. Returns the text between its quotation marks.
    fn string(&mut self) -> Result<&'a [u8], NotCanonical> {
        self.expect(b'"', "a string is expected, without white space before it")?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(b' '..) => self.at += 1,
                _ => return Err(self.error("a string ends, or has a control character that is not escaped")),
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(text)
    }

    /// Reads an escape. Only quotation marks, backslashes and control characters are escaped, each in one way.
    fn escape(&mut self) -> Result<(), NotCanonical> {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        let length = match rest {
            [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', b'0', b'0', high, low, ..] if is_control(*high, *low) => 6,
            _ => return Err(self.error("this escape is written in another way, or not at all")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), NotCanonical> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        let text = rest.get(..length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        let number: f64 = serde_json::from_str(text).map_err(|_| self.error("this is no number"))?;
        if !is_exact(number) || text.parse().is_ok_and(|number| !is_exact_integer(number)) {
            return Err(self.error("this number is beyond 2^53"));
        }
        if !serde_json_canonicalizer::to_string(&number).is_ok_and(|canonical| canonical == text) {
            return Err(self.error("this number is written in another way"));
        }
        self.at += length;
        Ok(())
    }
}

/// Whether `\u00` with these digits is the escape of a control character that has no shorter one.
const fn is_control(high: u8, low: u8) -> bool {
    match (high, low) {
        (b'0', b'8' | b'9' | b'a' | b'c' | b'd') => false,
        (b'0' | b'1', b'0'..=b'9' | b'a'..=b'f') => true,
        _ => false,
    }
}

/// The order of two names, which may contain escapes.
pub(super) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let name = |text: &[u8]| {
        let quoted = [b"\"", text, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).unwrap_or_default()
    };
    if one.contains(&b'\\') || other.contains(&b'\\') || !one.is_ascii() || !other.is_ascii() {
        by_utf_16(&name(one), &name(other))
    } else {
        one.cmp(other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::tests::value;
    use super::{check, is_exact, is_exact_integer};

    fn has_only_exact_numbers(value: &Value) -> bool {
        match value {
            Value::Number(number) => {
                number.as_i128().map_or_else(|| number.as_f64().is_some_and(is_exact), is_exact_integer)
            }
            Value::Array(values) => values.iter().all(has_only_exact_numbers),
            Value::Object(members) => members.values().all(has_only_exact_numbers),
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn what_the_library_writes_is_canonical(value in value()) {
            let text = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(check(&text).is_ok(), has_only_exact_numbers(&value), "{:?}", check(&text));
        }

        #[test]
        fn no_other_text_is(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = serde_json_canonicalizer::to_vec(&value).unwrap();
            let at = at.index(text.len());
            text[at] = byte;
            if check(&text).is_ok() {
                let value: Value = serde_json::from_slice(&text).unwrap();
                prop_assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), text);
            }
        }
    }

    #[test]
    fn every_kind_of_departure_is_named() {
        let cases = [
            ("", "value is expected"),
            (" 1", "value is expected"),
            ("1 ", "ended before"),
            ("[1, 2]", "value is expected"),
            (r#"{"a": 1}"#, "value is expected"),
            (r#"{"a":1 }"#, "comma"),
            (r#"{"b":1,"a":2}"#, "order of names"),
            (r#"{"a":1,"a":2}"#, "order of names"),
            (r#""\u0041""#, "escape"),
            (r#""\/""#, "escape"),
            (r#""\u000A""#, "escape"),
            (r#""\u000a""#, "escape"),
            (r#""\u001F""#, "escape"),
            ("\"\u{1}\"", "control character"),
            ("\"a", "string ends"),
            ("1.0", "another way"),
            ("-0", "another way"),
            ("1E2", "another way"),
            ("01", "no number"),
            ("9007199254740993", "beyond 2^53"),
            ("-9007199254740994", "beyond 2^53"),
            ("100000000000000000001", "beyond 2^53"),
            ("1e+30", "beyond 2^53"),
            ("nul", "value is expected"),
        ];
        for (text, what) in cases {
            let error = check(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
        assert!(check(b"\"\xff\"").unwrap_err().to_string().contains("UTF-8"));
        assert!(check("[".repeat(1_000_000).as_bytes()).unwrap_err().to_string().contains("nested"));
        check(br#"{"a":[null,true,false,-1,0.5,9007199254740992,"\u0000\u001f\n\"\\"],"b":{}}"#).unwrap();
    }
}
