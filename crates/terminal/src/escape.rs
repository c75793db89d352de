//! Makes text that somebody else wrote harmless on a terminal.
//!
//! Names, labels and files contain whatever their authors typed. Printed raw, an escape sequence clears the screen, a
//! line break adds a row to a table, and a bidirectional control shows text in another order. Everything that the
//! command line prints therefore passes through [`text`], [`json`] or [`Escaping`].

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;

/// One line of text. Every character that a terminal would obey is shown as an escape, such as `\n` or `\u{1b}`; so
/// what comes out is one line, and has no tabs.
pub fn text(text: &str) -> Cow<'_, str> {
    replaced(text, |character, escaped| escaped.extend(character.escape_default()))
}

/// JSON text with the same content. `serde_json` escapes control characters below U+0020; this escapes the others.
/// These can only occur in strings, where JSON allows the escape.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(text, |character, escaped| {
        // Writing to a string does not fail.
        let _ = write!(escaped, "\\u{:04x}", u32::from(character));
    })
}

fn replaced(text: &str, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    // Most text is ASCII, and bytes are compared faster than characters.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            replace(character, &mut escaped);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal does something with the character instead of showing it: C0 (line breaks and tabs among them),
/// DEL, C1, the separators of lines and paragraphs, and the controls of bidirectional text.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A writer of text, for formatters: escapes what is written as [`text`] does.
pub struct Escaping<'a>(pub &'a mut dyn fmt::Write);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, written: &str) -> fmt::Result {
        self.0.write_str(&text(written))
    }
}

/// A writer of lines of JSON or of a table, for a terminal: escapes what is written as [`json`] does, but for the line
/// breaks.
pub struct EscapingLines<W> {
    terminal: W,
    /// What was written since the last line break. A caller may cut a character in two.
    line: Vec<u8>,
}

impl<W> EscapingLines<W> {
    /// Writes to this terminal.
    pub const fn new(terminal: W) -> Self {
        Self { terminal, line: Vec::new() }
    }
}

impl<W: io::Write> io::Write for EscapingLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.pop_if(|last| *last == b'\n').is_some() {
                let line = std::mem::take(&mut self.line);
                writeln!(self.terminal, "{}", json(&String::from_utf8_lossy(&line)))?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.terminal.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{EscapingLines, json, text};

    const HOSTILE: &str = "a\u{1b}[2J\n\tb\r\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}\u{61c}é\\n";

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        let expected = "a\\u{1b}[2J\\n\\tb\\r\\u{7f}\\u{9b}\\u{202e}\\u{2066}\\u{2028}\\u{61c}é\\n";
        assert_eq!(text(HOSTILE), expected);
    }

    #[test]
    fn json_keeps_its_meaning() {
        let written = serde_json::to_string(HOSTILE).unwrap();
        let escaped = json(&written);
        assert_eq!(text(&escaped), escaped);
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), HOSTILE);
    }

    #[test]
    fn lines_stay_lines() {
        let mut written = Vec::new();
        let mut writer = EscapingLines::new(&mut written);
        for byte in "{\"a\":\"\u{9b}\"}\n{}\n".as_bytes() {
            writer.write_all(&[*byte]).unwrap();
        }
        assert_eq!(written, b"{\"a\":\"\\u009b\"}\n{}\n");
    }
}
