//! How far a rebuild is: a bar on a terminal, one JSON line a second on standard error elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use identity_projections::rebuild::{Phase, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::output::note;

/// Shows the progress of one job until it is told that the job has ended.
pub(super) struct Reporter {
    sender: watch::Sender<Progress>,
    shown: JoinHandle<()>,
}

impl Reporter {
    /// `bars` has the bars of all jobs that run at the same time.
    pub(super) fn start(name: &'static str, bars: &MultiProgress) -> Self {
        let (sender, receiver) = watch::channel(Progress { phase: Phase::Fold, done: 0, total: 0 });
        let shown = if std::io::stderr().is_terminal() {
            tokio::spawn(draw(name, bars.add(ProgressBar::no_length()), receiver))
        } else {
            tokio::spawn(write_lines(name, receiver))
        };
        Self { sender, shown }
    }

    /// Where the job tells how far it is.
    pub(super) fn sender(&self) -> &watch::Sender<Progress> {
        &self.sender
    }

    /// Ends the showing. Says how far the job came.
    pub(super) async fn finish(self) -> String {
        let Progress { phase, done, total } = *self.sender.borrow();
        drop(self.sender);
        // Showing has nothing to fail with but a closed terminal.
        drop(self.shown.await);
        format!("reached phase {}, {done} of {total} events", phase.as_str())
    }
}

async fn draw(name: &'static str, bar: ProgressBar, mut receiver: watch::Receiver<Progress>) {
    let bar = bar.with_prefix(name);
    let template = "{prefix} {msg:9} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    while receiver.changed().await.is_ok() {
        let Progress { phase, done, total } = *receiver.borrow_and_update();
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(phase.as_str());
    }
    bar.finish_and_clear();
}

async fn write_lines(name: &'static str, receiver: watch::Receiver<Progress>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut ended = std::pin::pin!(end(receiver.clone()));
    loop {
        let over = tokio::select! {
            _ = ticks.tick() => false,
            () = &mut ended => true,
        };
        write_line(name, *receiver.borrow(), started.elapsed());
        if over {
            return;
        }
    }
}

/// Returns when the job has ended, which a closed channel shows.
async fn end(mut receiver: watch::Receiver<Progress>) {
    while receiver.changed().await.is_ok() {}
}

fn write_line(name: &str, progress: Progress, elapsed: Duration) {
    let Progress { phase, done, total } = progress;
    let seconds = elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people to read")]
    let left = if rate > 0.0 { Some((total.saturating_sub(done)) as f64 / rate) } else { None };
    let line = json!({
        "name": name, "phase": phase.as_str(), "done": done, "total": total,
        "events_per_second": rate.round(), "seconds_left": left.map(f64::round),
    });
    note(&line.to_string());
}
