//! Being told to stop: by Ctrl-C, by a supervisor, or by a terminal that is closed.

use std::fs::File;
use std::time::Instant;

use anyhow::Context as _;
use identityd::stop::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What SIGHUP means to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// The command stops in good order.
    Stops,
    /// The command reads its certificates again; it stops only when its terminal was closed.
    Reloads,
}

/// Listens for the signals that end a process. From the first one on they no longer end it by themselves, so whoever
/// listens has to come to an end.
#[derive(Debug)]
pub(crate) struct Interruption {
    stop: Stop,
    reloads: watch::Receiver<u64>,
}

/// The listening itself.
struct Ear {
    interrupt: Signal,
    terminate: Signal,
    /// None if the process was started with SIGHUP ignored, as `nohup` does, and has nothing to reload.
    hangup: Option<Signal>,
    meaning: Hangup,
    had_terminal: bool,
}

impl Interruption {
    /// Begins to listen. The listening goes on until the process ends.
    pub(crate) fn listen(meaning: Hangup) -> anyhow::Result<Self> {
        let listener = |kind| signal(kind).context("cannot listen for signals");
        let wants_hangup = meaning == Hangup::Reloads || !is_hangup_ignored();
        let ear = Ear {
            interrupt: listener(SignalKind::interrupt())?,
            terminate: listener(SignalKind::terminate())?,
            hangup: wants_hangup.then(|| listener(SignalKind::hangup())).transpose()?,
            meaning,
            had_terminal: has_terminal(),
        };
        let (tell_stop, stop) = watch::channel(None);
        let (tell_reload, reloads) = watch::channel(0);
        tokio::spawn(ear.listen(tell_stop, tell_reload));
        Ok(Self { stop: Stop::new(stop), reloads })
    }

    /// What tells others, blocking work among them, that the process is to stop.
    pub(crate) fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Returns when the process was told to stop since the listening began.
    pub(crate) async fn arrives(&mut self) {
        self.stop.told().await;
    }

    /// How often the process was told to reload.
    pub(crate) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.clone()
    }
}

impl Ear {
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

/// Whether this process was started with SIGHUP ignored. Only Linux says so; elsewhere it counts as not ignored.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // Signals count from 1, bits from 0; SIGHUP is 1.
    ignored & 1 != 0
}
