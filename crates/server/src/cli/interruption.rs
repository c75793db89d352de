//! Signals that stop the process: from Ctrl-C, from a supervisor, or from a terminal that is closed.

use std::fs::File;
use std::time::Instant;

use anyhow::Context as _;
use identity_postgres::stop::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What SIGHUP means to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// The command stops.
    Stops,
    /// The command reads its certificates again; it stops only when its terminal was closed.
    Reloads,
}

/// Listens for the signals that end a process. While it listens, these signals do not end the process by themselves, so
/// the command has to end when it is told.
#[derive(Debug)]
pub(crate) struct Interruption {
    stop: Stop,
    reloads: watch::Receiver<u64>,
}

/// The task that receives the signals.
struct SignalTask {
    interrupt: Signal,
    terminate: Signal,
    /// None if the process was started with SIGHUP ignored, as `nohup` does, and has nothing to reload.
    hangup: Option<Signal>,
    meaning: Hangup,
    had_terminal: bool,
}

impl Interruption {
    /// Begins to listen, until the process ends.
    pub(crate) fn listen(meaning: Hangup) -> anyhow::Result<Self> {
        let listener = |kind| signal(kind).context("cannot listen for signals");
        let wants_hangup = meaning == Hangup::Reloads || !is_hangup_ignored();
        let task = SignalTask {
            interrupt: listener(SignalKind::interrupt())?,
            terminate: listener(SignalKind::terminate())?,
            hangup: wants_hangup.then(|| listener(SignalKind::hangup())).transpose()?,
            meaning,
            had_terminal: has_terminal(),
        };
        let (tell_stop, stop) = watch::channel(None);
        let (tell_reload, reloads) = watch::channel(0);
        tokio::spawn(task.listen(tell_stop, tell_reload));
        Ok(Self { stop: Stop::new(stop), reloads })
    }

    /// Tells other work, also work that blocks a thread, that the process should stop.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Returns when the process has been told to stop.
    pub(crate) async fn arrives(&mut self) {
        self.stop.told().await;
    }

    /// How often the process was told to reload.
    pub(crate) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.clone()
    }
}

impl SignalTask {
    async fn listen(mut self, stop: watch::Sender<Option<Instant>>, reloads: watch::Sender<u64>) {
        loop {
            let stops = tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => true,
                () = hangs_up(self.hangup.as_mut()) => {
                    self.meaning == Hangup::Stops || (self.had_terminal && !has_terminal())
                }
            };
            if stops {
                stop.send_if_modified(|since| {
                    let is_first = since.is_none();
                    since.get_or_insert_with(Instant::now);
                    is_first
                });
            } else {
                reloads.send_modify(|count| *count += 1);
            }
        }
    }
}

async fn hangs_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process has a terminal of its own. When that is closed, opening it fails.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether this process was started with SIGHUP ignored. Only Linux tells that; elsewhere it counts as not ignored.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // SIGHUP is signal 1, which is bit 0.
    ignored & 1 != 0
}
