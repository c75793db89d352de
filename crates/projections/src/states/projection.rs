//! Stored states as a read model.

use identity_domain::Kind;
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModelFailure, Recorded, StoredState};
use sqlx::PgConnection;

use super::folded::FoldedStates;
use super::live::StatesFold;
use super::model::{EVENTS_BETWEEN_STATES, StateRow, States};
use super::stored;
use crate::columns::{Column, Index, TableRow as _};
use crate::projection::Projection;

impl<K: States> Projection for K {
    const NAME: &'static str = K::NAME;
    const VERSION: i32 = K::VERSION;
    const KIND: Kind = K::KIND;
    const IS_NEEDED: bool = false;
    const MIN_EVENTS: i64 = EVENTS_BETWEEN_STATES;
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
        folded.to_store().iter().for_each(|row| row.copy(writer));
        Ok(())
    }

    async fn last_states(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<Vec<StoredState>, ReadModelFailure> {
        stored::last_of_each::<K>(connection, ids).await
    }
}
