//! The metrics of the committer.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::names;
use super::queue::Outcome;
use crate::append::Committed;
use crate::error::AppendError;

/// Upper bounds of the histogram of batch sizes, up to the largest batch.
const BATCH_SIZE_BOUNDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Upper bounds of the histogram of commit times, in seconds.
const COMMIT_SECONDS_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

/// The metrics of a committer. Cheap to clone; clones share their counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    commits: Counter,
    failures: Counter,
    commands: Family<Label, Counter>,
    batch_sizes: Histogram,
    durations: Histogram,
    events: Counter,
    claims: Family<Label, Counter>,
}

/// How a command ended, or whether a name was taken or given up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    outcome: &'static str,
}

impl Default for Metrics {
    /// Metrics that no registry shows.
    fn default() -> Self {
        Self::new(&mut Registry::default())
    }
}

impl Metrics {
    /// Metrics in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            commits: Counter::default(),
            failures: Counter::default(),
            commands: Family::default(),
            batch_sizes: Histogram::new(BATCH_SIZE_BOUNDS),
            durations: Histogram::new(COMMIT_SECONDS_BOUNDS),
            events: Counter::default(),
            claims: Family::default(),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        let Self { commits, failures, commands, batch_sizes, durations, events, claims } = self;
        registry.register("commits", "Transactions that were committed to the log", commits.clone());
        registry.register("commit_failures", "Transactions that failed as a whole", failures.clone());
        registry.register("commands", "Commands that were decided, by how that ended", commands.clone());
        registry.register("commit_commands", "Commands in one transaction", batch_sizes.clone());
        registry.register(
            "commit_duration_seconds",
            "Time from the begin of a transaction to its commit",
            durations.clone(),
        );
        registry.register("events_appended", "Events that were appended", events.clone());
        registry.register("name_claims", "Names that were taken and given up", claims.clone());
    }

    /// Counts a transaction that was committed.
    pub(crate) fn committed(&self, outcomes: &[Outcome], duration: Duration) {
        self.commits.inc();
        self.durations.observe(duration.as_secs_f64());
        self.batch_sizes.observe(f64::from(u32::try_from(outcomes.len()).unwrap_or(u32::MAX)));
        for outcome in outcomes {
            self.commands.get_or_create(&Label { outcome: outcome_label(outcome) }).inc();
            for event in outcome.iter().flat_map(Committed::all_events) {
                self.events.inc();
                let (taken, given_up) = names::claimed_and_given_up(&event.event);
                self.claims.get_or_create(&Label { outcome: "taken" }).inc_by(taken);
                self.claims.get_or_create(&Label { outcome: "given_up" }).inc_by(given_up);
            }
        }
    }

    /// Counts a transaction that failed.
    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}

fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(committed) if committed.events.is_empty() => "unchanged",
        Ok(_) => "appended",
        Err(AppendError::Rejected(_)) => "refused",
        Err(AppendError::VersionConflict { .. }) => "version_conflict",
        Err(AppendError::Repeated) => "repeated",
        Err(AppendError::KeyRevoked) => "key_revoked",
        Err(
            AppendError::Unavailable(_)
            | AppendError::OutcomeUnknown(_)
            | AppendError::Altered(_)
            | AppendError::Failed(_),
        ) => "failed",
    }
}
