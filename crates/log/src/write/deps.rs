//! What drafting and writing a batch need besides a connection.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::metrics::Metrics;
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
    /// Tells the notifier of a commit.
    pub(super) committed: watch::Sender<()>,
}

impl Deps {
    pub(super) fn tell(&self, of: impl Fn(&dyn Observer)) {
        self.observers.iter().for_each(|observer| of(&**observer));
    }
}
