//! What is stored, and after which events.

use identity_domain::Kind;
use identity_log::Recorded;
use sqlx::FromRow;

use crate::columns::{Index, table_row};

/// How many events of an aggregate there are between two stored states at least.
pub const EVENTS_BETWEEN_STATES: i64 = 256;

/// How many events there are between two stored states at most. If a state is still too large after that many, no later one of the
/// aggregate is stored. A live write may have to fold that many events.
const MAX_EVENTS_BETWEEN_STATES: i64 = 64 * EVENTS_BETWEEN_STATES;

/// How many bytes of a stored state one event pays for.
pub(super) const BYTES_PER_EVENT: i64 = 512;

/// Whether a state may be stored after so many events since the last one.
pub(super) fn is_due(events: i64) -> bool {
    let times = events / EVENTS_BETWEEN_STATES;
    let is_whole = events % EVENTS_BETWEEN_STATES == 0;
    is_whole && times.count_ones() == 1 && events <= MAX_EVENTS_BETWEEN_STATES
}

/// The stored states of one kind of aggregate.
pub trait States: Send + Sync + 'static {
    /// The name of the read model.
    const NAME: &'static str;
    /// The version of the folds, and of the form in which states are stored. States of other versions are not used.
    const VERSION: i32;
    /// The aggregate type.
    const KIND: Kind;
    /// The indexes of the table.
    const INDEXES: &'static [Index] = &[];
    /// What is stored besides the state that decisions need.
    type Rows: RowsOfAggregate;
}

/// The rows of other read models that are folded from one aggregate.
pub trait RowsOfAggregate: Default + Clone + PartialEq + Send + Sync + 'static {
    /// Applies an event.
    fn evolve(&mut self, recorded: &Recorded);

    /// The rows as JSON text; `None` if there is nothing to store.
    fn encode(&self) -> Result<Option<String>, serde_json::Error>;

    /// The rows of an aggregate of this organization from JSON text.
    fn decode(organization_id: &str, text: Option<&str>) -> Result<Self, serde_json::Error>;
}

/// No rows: the states are read for decisions only.
impl RowsOfAggregate for () {
    fn evolve(&mut self, _recorded: &Recorded) {}

    fn encode(&self) -> Result<Option<String>, serde_json::Error> {
        Ok(None)
    }

    fn decode(_organization_id: &str, _text: Option<&str>) -> Result<Self, serde_json::Error> {
        Ok(())
    }
}

table_row! {
    /// The state of an aggregate right after its event `sequence`.
    #[derive(Debug, Clone, PartialEq, Eq, FromRow)]
    pub struct StateRow {
        pub(super) aggregate_id: String,
        pub(super) sequence: i64,
        pub(super) organization_id: String,
        pub(super) organization_sequence: i64,
        pub(super) version: i64,
        /// What decisions need, as JSON text.
        pub(super) decision: String,
        /// The rows of other read models, as JSON text.
        pub(super) rows: Option<String>,
    }
}
