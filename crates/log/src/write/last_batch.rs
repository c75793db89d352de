//! The state that the committer carries over from one batch to the next.

use std::time::Duration;

use super::batch_context::{AggregateCache, is_looked_up_by_key};
use super::head::{DraftedOn, LogHead};
use super::idempotency::UsedKeys;
use crate::append::Append;
use crate::read_model::Fold;

/// How old a reading of the database's clock may be for a batch to be drafted ahead with it.
const MAX_CLOCK_READING_AGE: Duration = Duration::from_secs(1);

/// What the committer knows of the log after one batch. The next batch is decided on it.
pub(super) struct LastBatch {
    pub(super) head: LogHead,
    /// The position since which no other process has written. A cache entry that was looked up there or later is current.
    pub(super) no_other_writer_since: i64,
    /// Whether no other process wrote between the last two batches. A draft is then likely to be valid.
    pub(super) no_other_writer: bool,
    pub(super) aggregates: AggregateCache,
    /// Idempotency keys of the last batch, which may not be committed yet.
    pub(super) used_keys: UsedKeys,
    /// The folds of all read models; empty before the first batch with events.
    pub(super) folds: Vec<Box<dyn Fold>>,
}

impl LastBatch {
    /// The state for a batch under the lock, which found the head `found`. If the log is where the last batch left it,
    /// everything stays valid. Otherwise another process has written: only the states of aggregates stay, because newer
    /// events are read on top of them.
    pub(super) fn resume(last: Option<Self>, found: LogHead) -> Self {
        match last {
            Some(last) if last.head.is_same_state_as(&found) => {
                Self { head: last.head.with_clock_of(&found), no_other_writer: true, ..last }
            }
            last => {
                let aggregates = last
                    .map(|last| last.aggregates.after_other_writers(found.position()))
                    .unwrap_or_default();
                Self { aggregates, ..Self::of(found) }
            }
        }
    }

    /// The state after a rejected draft: only the states of aggregates that neither this draft nor a later one has
    /// changed stay. `no_other_writer` stays true if only the 50 ms were exceeded.
    pub(super) fn after_rejected(last: Option<Self>, drafted_on: &DraftedOn, found: LogHead) -> Self {
        let no_other_writer = drafted_on.is_unchanged_at(&found);
        let aggregates = last
            .map(|last| last.aggregates.up_to(drafted_on.position).after_other_writers(found.position()))
            .unwrap_or_default();
        Self { no_other_writer, aggregates, ..Self::of(found) }
    }

    fn of(head: LogHead) -> Self {
        let no_other_writer_since = head.position();
        Self {
            head,
            no_other_writer_since,
            no_other_writer: false,
            aggregates: AggregateCache::default(),
            used_keys: UsedKeys::new(),
            folds: vec![],
        }
    }

    /// This state with the clock of its head advanced to now.
    pub(super) fn advanced_to_now(self) -> Self {
        Self { head: self.head.advanced_to_now(), ..self }
    }

    /// This state with the clock reading of `found`.
    pub(super) fn with_clock_of(self, found: &LogHead) -> Self {
        Self { head: self.head.with_clock_of(found), ..self }
    }

    /// Whether a batch of these commands can be drafted while the last batch is being written:
    ///
    /// - no other process wrote between the last two batches;
    /// - the clock of the database was read less than 1 s ago;
    /// - the commands look up everything by key, so this state knows what the last batch does to it.
    pub(super) fn can_draft_ahead(&self, appends: &[&Append]) -> bool {
        self.no_other_writer
            && self.head.clock_read().elapsed() < MAX_CLOCK_READING_AGE
            && appends.iter().all(|append| is_looked_up_by_key(append))
    }
}
