//! Stored states: what the folds have made of an aggregate up to some of its events, so that a reader of a long history begins with the
//! last state before what it asks for, and not with the first event.
//!
//! States are an optimization. A reader that finds none, because the table is missing, is being filled, or has rows of another version, folds
//! from an earlier state or from the first event, with the same result.
//!
//! # Which states are stored
//! The state after an event is stored if the events since the last stored state are
//!
//! - [`EVENTS_BETWEEN_STATES`], or twice, four times, … as many, up to [`MAX_EVENTS_BETWEEN_STATES`];
//! - so many that the state has at most [`BYTES_PER_EVENT`] bytes for each of them. An event takes more than that in the log, so the states
//!   of an aggregate never take more than its events.
//!
//! So a reader folds fewer events than `EVENTS_BETWEEN_STATES`, or than twice those that pay for a large state. The rule follows from the
//! events alone: a rebuild stores the same states as live writes.

mod folded;
mod identity_rows;
mod kinds;
mod live;
mod stored;

use identity_domain::Kind;
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, StoredState};
use sqlx::{FromRow, PgConnection};

use crate::columns::{Column, Index, TableRow as _, table_row};
use crate::projection::Projection;
use folded::FoldedStates;
use live::StatesFold;

pub use identity_rows::IdentityRows;
pub use kinds::{ApiKeyStates, IdentityStates, VaultSecretStates, VaultStates, WebhookSubscriptionStates};
pub use stored::{StoredRows, Upto, last_identity_rows};

/// How many events of an aggregate there are between two stored states at least.
pub const EVENTS_BETWEEN_STATES: i64 = 256;

/// How many events there are between two stored states at most. No state is stored after more, because it is too large. A live write may
/// have to fold as many events.
const MAX_EVENTS_BETWEEN_STATES: i64 = 64 * EVENTS_BETWEEN_STATES;

/// How many bytes of a stored state one event pays for.
const BYTES_PER_EVENT: i64 = 512;

/// Whether a state may be stored after so many events since the last one.
fn is_due(events: i64) -> bool {
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
        aggregate_id: String,
        sequence: i64,
        organization_id: String,
        organization_sequence: i64,
        version: i64,
        /// What decisions need, as JSON text.
        decision: String,
        /// The rows of other read models, as JSON text.
        rows: Option<String>,
    }
}

impl<K: States> Projection for K {
    const NAME: &'static str = K::NAME;
    const VERSION: i32 = K::VERSION;
    const KIND: Kind = K::KIND;
    const IS_NEEDED: bool = false;
    type Row = FoldedStates<K::Rows>;

    fn fold(folded: Option<Self::Row>, event: &Recorded) -> Option<Self::Row> {
        let mut folded = folded.unwrap_or_else(|| FoldedStates::before_first(K::KIND, K::VERSION));
        folded.evolve(event);
        Some(folded)
    }

    fn live() -> Box<dyn Fold> {
        Box::new(StatesFold::<K>::default())
    }

    const COLUMNS: &'static [Column] = StateRow::COLUMNS;

    const KEY_COLUMNS: usize = 2;

    const INDEXES: &'static [Index] = K::INDEXES;

    fn copy(_id: &str, folded: &Self::Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure> {
        folded.to_store()?.iter().for_each(|row| row.copy(writer));
        Ok(())
    }

    async fn last_states(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<Vec<StoredState>, ReadModelFailure> {
        stored::last_of_each::<K>(connection, ids).await
    }
}

#[cfg(test)]
mod tests;
