//! Being told to stop, as work that blocks a thread asks for it: it cannot be cancelled from outside.

use std::time::Instant;

use tokio::sync::watch;

/// Since when this process is to stop, if it is. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// What is sent here says since when.
    pub const fn new(told: watch::Receiver<Option<Instant>>) -> Self {
        Self(told)
    }

    /// For work that nobody stops.
    pub fn never() -> Self {
        Self(watch::channel(None).1)
    }

    /// Since when this process is to stop.
    pub fn since(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Whether this process is to stop.
    pub fn is_told(&self) -> bool {
        self.since().is_some()
    }

    /// Returns when this process is to stop; never, if nobody can tell it so.
    pub async fn told(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
