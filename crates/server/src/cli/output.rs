//! What a command prints on standard output: text for people, or JSON with the same content.

use std::io::Write as _;

use anyhow::Context as _;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where results go. Unlike `println!`, a closed pipe is an error and no panic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result in the form that was asked for.
    pub(crate) fn print(self, json: &Value, text: &str) -> anyhow::Result<()> {
        if self.json { Self::line(&json.to_string()) } else { Self::line(text) }
    }

    /// Prints a list: an array, or one line each with the fields divided by tabs; nothing for an empty one.
    pub(crate) fn print_list(self, json: Vec<Value>, lines: &[Vec<String>]) -> anyhow::Result<()> {
        if self.json {
            return Self::line(&Value::Array(json).to_string());
        }
        lines.iter().try_for_each(|fields| Self::line(&fields.join("\t")))
    }

    fn line(text: &str) -> anyhow::Result<()> {
        let mut output = std::io::stdout().lock();
        writeln!(output, "{text}").and_then(|()| output.flush()).context("cannot write to standard output")
    }
}

/// A time as the API writes it too.
pub(super) fn timestamp(time: OffsetDateTime) -> String {
    // Formatting fails only for years that RFC 3339 cannot express, and those are better shown than hidden.
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
