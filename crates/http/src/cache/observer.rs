//! How the cache hears of the batches of this process.

use std::sync::atomic::Ordering;

use identity_log::read::Change;
use identity_log::{Observer, Recorded};

use super::Cache;
use super::invalidations::{Sent, change};

impl Cache {
    /// The outcome of the batch that was sent is known.
    fn clear_sent(&self) {
        self.invalidations().sent = Sent::default();
    }
}

impl Observer for Cache {
    fn sending(&self, events: &[Recorded]) {
        // A new aggregate (sequence 1) cannot be in the cache yet.
        let changes: Vec<Change> =
            events.iter().filter(|event| event.sequence > 1).filter_map(change).collect();
        let sent = Sent::of(&changes);
        if let Some(last) = events.last() {
            self.0.sent.store(last.position, Ordering::Release);
        }
        let mut invalidations = self.invalidations();
        self.forget(&mut invalidations, changes.into_iter());
        invalidations.sent = sent;
    }

    fn committed(&self, events: &[Recorded]) {
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            self.learn(first.position - 1, last.position, events.iter().filter_map(change));
        }
        self.clear_sent();
    }

    fn not_written(&self) {
        self.clear_sent();
    }

    fn outcome_unknown(&self) {
        let mut invalidations = self.invalidations();
        invalidations.is_outcome_unknown = true;
        self.0.is_sole.store(false, Ordering::Release);
        invalidations.sent = Sent::default();
        self.0.questions.notify_one();
    }
}
