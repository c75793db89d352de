//! Shows the progress of a command that reads or writes a file: a bar on a terminal, else a line on standard error
//! every second.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::note;

/// How often a line is written if standard error is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Shows progress until it is finished.
pub(super) struct Progress {
    name: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line_at: Instant,
}

impl Progress {
    pub(super) fn start(name: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}");
            let bar = ProgressBar::no_length().with_prefix(name);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self { name, bar, started: now, last_line_at: now }
    }

    pub(super) fn reached(&mut self, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        } else if self.last_line_at.elapsed() >= LINE_INTERVAL {
            self.last_line_at = Instant::now();
            let seconds = self.started.elapsed().as_secs();
            let line = json!({ "name": self.name, "done": done, "total": total, "seconds": seconds });
            note(&line.to_string());
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
