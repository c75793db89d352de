//! Messages to a supervisor such as systemd, and its request to reload.
//!
//! Without a supervisor no message is sent.

use std::convert::Infallible;
use std::time::Duration;

use identityd::Service;
use sd_notify::NotifyState;
use tokio::sync::watch;

/// The supervisor of this process, if there is one.
pub(crate) struct Supervisor {
    reloads: watch::Receiver<u64>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Whether there is a supervisor.
    #[expect(
        clippy::disallowed_methods,
        reason = "the supervisor sets it for this process; it is no setting"
    )]
    pub(crate) fn is_there() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// Tells the supervisor that the service listens.
    pub(crate) fn notify_ready(reloads: watch::Receiver<u64>) -> Self {
        tell(&[NotifyState::Ready]);
        // Twice within the time after which the supervisor would restart a silent service.
        let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|rest| !rest.is_zero());
        Self { reloads, watchdog }
    }

    /// Tells the supervisor again and again that the service is alive, and reloads the TLS certificate when the process
    /// is told to.
    pub(crate) async fn keep_alive(&mut self, service: &Service) -> Infallible {
        loop {
            tokio::select! {
                Ok(()) = self.reloads.changed() => reload(service),
                () = rest(self.watchdog) => tell(&[NotifyState::Watchdog]),
            }
        }
    }

    /// Tells the supervisor that the service is stopping.
    pub(crate) fn notify_stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

async fn rest(watchdog: Option<Duration>) {
    match watchdog {
        Some(rest) => tokio::time::sleep(rest).await,
        None => std::future::pending().await,
    }
}

fn reload(service: &Service) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the clock cannot be read"),
    }
    match service.reload() {
        Ok(()) => tracing::info!("reloaded"),
        Err(error) => tracing::error!(error = format!("{error:#}"), "not reloaded, serving as before"),
    }
    tell(&[NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the supervisor does not listen");
    }
}
