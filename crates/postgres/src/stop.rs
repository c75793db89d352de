//! Tells work that the process should stop. Work that blocks a thread has to check this, since it cannot be cancelled
//! from outside.

use std::time::Instant;

use tokio::sync::watch;

/// Since when this process should stop, if it should. Clones share the answer.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    /// `told` has the moment since when the process should stop.
    pub const fn new(told: watch::Receiver<Option<Instant>>) -> Self {
        Self(told)
    }

    /// For work that is never stopped.
    pub fn never() -> Self {
        Self(watch::channel(None).1)
    }

    /// Since when this process should stop.
    pub fn since(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Whether this process should stop.
    pub fn is_told(&self) -> bool {
        self.since().is_some()
    }

    /// Returns when this process should stop; never returns if the sender is dropped.
    pub async fn told(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
