//! How the cache hears of the batches of this process.

use std::sync::atomic::Ordering;

use identity_log::{Observer, Recorded};

use super::Cache;
use super::invalidations::{Sent, change, changed_by};

impl Observer for Cache {
    fn sending(&self, events: &[Recorded]) {
        let mut invalidations = self.invalidations();
        self.forget(&mut invalidations, changed_by(events));
        invalidations.sent = Sent::of(events);
    }

    fn committed(&self, events: &[Recorded]) {
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            self.learn(first.position - 1, last.position, events.iter().filter_map(change));
        }
        self.not_written();
    }

    fn not_written(&self) {
        self.invalidations().sent = Sent::default();
    }

    fn outcome_unknown(&self) {
        let mut invalidations = self.invalidations();
        invalidations.is_outcome_unknown = true;
        self.0.is_sole.store(false, Ordering::Release);
        invalidations.sent = Sent::default();
        self.0.questions.notify_one();
    }
}
