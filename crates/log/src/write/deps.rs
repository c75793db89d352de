//! What drafting and writing a batch need besides a connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use super::clock_jump::ClockGuard;
use super::metrics::Metrics;
use super::queue::Outcome;
use crate::event::recorded::Recorded;
use crate::read_model::{Observer, ReadModel};
use crate::settings::Settings;

/// One value for all batches of a process.
pub(super) struct Deps {
    /// This process among those that write to the log.
    pub(super) process: Uuid,
    pub(super) read_models: Vec<Arc<dyn ReadModel>>,
    pub(super) settings: Settings,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) metrics: Metrics,
    pub(super) last_commit: LastCommit,
    pub(super) clock_guard: ClockGuard,
    /// Tells the notifier of a commit.
    pub(super) committed: watch::Sender<()>,
}

/// When this process has last committed events; `None` if it has not, or a batch has failed since. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastCommit(Arc<Mutex<Option<Instant>>>);

impl LastCommit {
    fn set(&self, moment: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }

    pub(super) fn is_within(&self, limit: Duration) -> bool {
        let moment = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.is_some_and(|moment| moment.elapsed() < limit)
    }
}

impl Deps {
    /// Notes and counts a batch that was committed, and tells the notifier if it has events.
    pub(super) fn has_committed(&self, outcomes: &[Outcome], events: &[Recorded], duration: Duration) {
        self.metrics.committed(outcomes, duration);
        if !events.is_empty() {
            self.last_commit.set(Some(Instant::now()));
            self.committed.send_replace(());
        }
    }

    /// Notes and counts a batch that failed.
    pub(super) fn failed(&self) {
        self.metrics.failed();
        self.last_commit.set(None);
    }

    pub(super) fn tell(&self, of: impl Fn(&dyn Observer)) {
        self.observers.iter().for_each(|observer| of(&**observer));
    }
}
