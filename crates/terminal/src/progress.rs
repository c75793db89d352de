//! How far a command is: a line of JSON on standard error every second.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::output::note;

/// How often a line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Writes lines while a command goes on.
#[derive(Debug)]
pub struct ProgressLines {
    name: &'static str,
    started: Instant,
    last_line_at: Instant,
}

impl ProgressLines {
    /// Begins to count the seconds of a command.
    pub fn start(name: &'static str) -> Self {
        let now = Instant::now();
        Self { name, started: now, last_line_at: now }
    }

    /// Writes a line if the last one is a second old.
    pub fn reached(&mut self, done: u64, total: Option<u64>) {
        if self.last_line_at.elapsed() >= LINE_INTERVAL {
            self.last_line_at = Instant::now();
            let seconds = self.started.elapsed().as_secs();
            let line = json!({ "name": self.name, "done": done, "total": total, "seconds": seconds });
            note(&line.to_string());
        }
    }
}
