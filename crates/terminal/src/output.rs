//! What a command prints on standard output: text for people, or JSON with the same content.
//!
//! All text passes through [`escape`], since names, labels and files are written by others.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, ensure};
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

/// Fails if standard output cannot be written, is closed, or is the null device. A command calls this before it makes a secret
/// that it prints only once.
///
/// A program of Rust that begins with a closed standard output gets the null device in its place, and writing to a descriptor
/// that is not open for writing is no error. So both are looked at here.
pub fn must_reach_somebody() -> anyhow::Result<()> {
    let lost = "standard output is closed, so the secret would be lost; nothing was made";
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned().context(lost)?);
    let metadata = output.metadata().context(lost)?;
    let is_null = fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == metadata.rdev());
    ensure!(
        !is_null,
        "standard output is closed or the null device, so the secret would be lost; nothing was made"
    );
    output.write(&[]).map(drop).context("cannot write to standard output; nothing was made")
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
