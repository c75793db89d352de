//! Folding one aggregate, and the states that are stored on the way.

use identity_domain::Kind;
use identity_log::{DecisionState, Recorded};

use super::model::{BYTES_PER_EVENT, RowsOfAggregate, StateRow, is_due};

/// An aggregate as folded up to an event, and its states that are to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldedStates<R> {
    decision: DecisionState,
    rows: R,
    version: i32,
    pub(super) sequence: i64,
    last_stored: i64,
    to_store: Vec<StateRow>,
}

impl<R: RowsOfAggregate> FoldedStates<R> {
    pub(super) fn before_first(kind: Kind, version: i32) -> Self {
        Self {
            decision: DecisionState::initial(kind),
            rows: R::default(),
            version,
            sequence: 0,
            last_stored: 0,
            to_store: vec![],
        }
    }

    /// The aggregate as it was when this state was stored.
    pub(super) fn after(row: &StateRow, version: i32) -> Result<Self, serde_json::Error> {
        Ok(Self {
            decision: serde_json::from_str(&row.decision)?,
            rows: R::decode(&row.organization_id, row.rows.as_deref())?,
            version,
            sequence: row.sequence,
            last_stored: row.sequence,
            to_store: vec![],
        })
    }

    pub(super) fn evolve(&mut self, recorded: &Recorded) {
        self.decision.evolve(recorded);
        self.rows.evolve(recorded);
        self.sequence = recorded.sequence;
        if is_due(self.sequence - self.last_stored) {
            match self.row(recorded) {
                Ok(row) => self.store_if_paid_for(row),
                // Readers fold from an earlier state.
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    id = recorded.aggregate_id,
                    "a state cannot be stored"
                ),
            }
        }
    }

    fn row(&self, recorded: &Recorded) -> Result<StateRow, serde_json::Error> {
        Ok(StateRow {
            aggregate_id: recorded.aggregate_id.clone(),
            sequence: recorded.sequence,
            organization_id: recorded.organization_id.clone(),
            organization_sequence: recorded.organization_sequence,
            version: self.version.into(),
            decision: serde_json::to_string(&self.decision)?,
            rows: self.rows.encode()?,
        })
    }

    fn store_if_paid_for(&mut self, row: StateRow) {
        let bytes = row.decision.len() + row.rows.as_ref().map_or(0, String::len);
        let paid = (row.sequence - self.last_stored) * BYTES_PER_EVENT;
        if i64::try_from(bytes).is_ok_and(|bytes| bytes <= paid) {
            self.last_stored = row.sequence;
            self.to_store.push(row);
        }
    }

    /// The states that are to be stored.
    pub(super) fn to_store(&self) -> &[StateRow] {
        &self.to_store
    }
}
