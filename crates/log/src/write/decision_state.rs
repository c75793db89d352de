//! What commands to an aggregate are decided with.

use identity_domain::{Kind, State};
use serde::{Deserialize, Serialize};

use super::recent::RecentUse;
use crate::event::recorded::Recorded;

/// What is known of an aggregate when a command to it is decided: its state, and how often it used what is limited. Folded from
/// the events of the aggregate. A read model can store it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionState {
    pub(super) state: State,
    pub(super) recent: RecentUse,
}

impl DecisionState {
    /// The version of its form in JSON, and of `evolve`. A higher version makes the service build the stored states again.
    pub const VERSION: i32 = 1;

    /// Before the first event.
    pub fn initial(kind: Kind) -> Self {
        Self { state: State::initial(kind), recent: RecentUse::default() }
    }

    /// Applies the next event of the aggregate.
    pub fn evolve(&mut self, recorded: &Recorded) {
        self.state.evolve(&recorded.event);
        self.recent.apply(recorded);
    }
}

/// The state of an aggregate right after its event `sequence`, as a read model stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// The aggregate.
    pub aggregate_id: String,
    /// Its organization.
    pub organization_id: String,
    /// The sequence of the last event that the state contains.
    pub sequence: i64,
    /// The state.
    pub state: DecisionState,
}

#[cfg(test)]
mod tests;
