//! Shows the progress of a command that reads or writes a file: a bar on a terminal, else a line on standard error
//! every second.

use std::io::IsTerminal as _;

use identity_terminal::progress::ProgressLines;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows progress until it is finished.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    lines: ProgressLines,
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
        Self { bar, lines: ProgressLines::start(name) }
    }

    pub(super) fn reached(&mut self, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.unwrap_or(done));
            bar.set_position(done);
        } else {
            self.lines.reached(done, total);
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
