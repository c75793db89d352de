//! What a command prints on standard output: text for people, or JSON with the same content.
//!
//! All text passes through [`escape`], since names, labels and files are written by others.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde_json::Value;

use crate::escape;

/// Where results go. Unlike `println!`, a closed pipe is an error and no panic.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// Whether JSON is printed.
    pub json: bool,
}

impl Output {
    /// Prints a result of one line in the form that was asked for.
    pub fn print(self, json: &Value, line: &str) -> anyhow::Result<()> {
        self.print_lines(json, &[line])
    }

    /// Prints a result of several lines, in one piece, so that a reader that closes after the first line causes no
    /// error.
    pub fn print_lines(self, json: &Value, lines: &[impl AsRef<str>]) -> anyhow::Result<()> {
        if self.json {
            return write_line(&escape::json(&json.to_string()));
        }
        let lines: Vec<_> = lines.iter().map(|line| escape::text(line.as_ref())).collect();
        write_line(&lines.join("\n"))
    }
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Writes text that was escaped, and the end of the line, with one call.
pub fn write_line(text: &str) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    let line = format!("{text}\n");
    output.write_all(line.as_bytes()).and_then(|()| output.flush()).context("cannot write to standard output")
}

/// Writes a line on standard error. If standard error is closed, the line is lost, and the command goes on.
pub fn note(line: &str) {
    drop(writeln!(io::stderr().lock(), "{}", escape::text(line)));
}
