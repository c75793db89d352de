//! Storing states in the transaction of their events.

use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;

use async_trait::async_trait;
use identity_log::life::{self, Life};
use identity_log::{Fold, Metadata, ReadModelError, ReadModelFailure, Recorded, Writes};
use sqlx::PgConnection;

use super::folded::FoldedStates;
use super::model::{EVENTS_BETWEEN_STATES, StateRow, States, is_due};
use super::stored;
use crate::columns;

/// The live fold. If no aggregate of a batch reaches an event after which a state may be stored, the events are only copied.
/// Otherwise the aggregate is folded from its last stored state on.
///
/// It keeps the events and the states of the last batch, since that batch may not be committed yet.
pub(super) struct StatesFold<K> {
    events: Vec<Recorded>,
    stored: HashMap<String, StateRow>,
    of: PhantomData<fn() -> K>,
}

impl<K> Default for StatesFold<K> {
    fn default() -> Self {
        Self { events: vec![], stored: HashMap::new(), of: PhantomData }
    }
}

#[async_trait]
impl<K: States> Fold for StatesFold<K> {
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelError> {
        let folded = self.fold_batch(connection, events, writes).await;
        folded.map_err(|source| ReadModelError { read_model: K::NAME, source })
    }
}

impl<K: States> StatesFold<K> {
    async fn fold_batch(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelFailure> {
        let events: Vec<&Recorded> = events.iter().filter(|event| event.event.kind() == K::KIND).collect();
        let rows = self.states(connection, &events).await?;
        columns::put::<StateRow, _>(K::NAME, &rows, writes)?;
        self.events = events.into_iter().filter(|event| event.sequence > 1).map(without_metadata).collect();
        self.stored = rows.into_iter().map(|row| (row.aggregate_id.clone(), row)).collect();
        Ok(())
    }

    /// The states that are to be stored with these events.
    async fn states(
        &self,
        connection: &mut PgConnection,
        events: &[&Recorded],
    ) -> Result<Vec<StateRow>, ReadModelFailure> {
        let mut rows = vec![];
        let may_be_stored = events.iter().filter(|event| event.sequence % EVENTS_BETWEEN_STATES == 0);
        let ids: BTreeSet<&str> = may_be_stored.map(|event| event.aggregate_id.as_str()).collect();
        if ids.is_empty() || !stored::is_there::<K>(connection).await? {
            return Ok(rows);
        }
        let ids: Vec<&str> = ids.into_iter().collect();
        let mut last: HashMap<String, i64> =
            stored::last_sequences::<K>(connection, &ids).await?.into_iter().collect();
        last.extend(self.stored.iter().map(|(id, row)| (id.clone(), row.sequence)));
        for id in ids {
            let of_it: Vec<&Recorded> =
                events.iter().copied().filter(|event| event.aggregate_id == id).collect();
            let last = last.get(id).copied().unwrap_or_default();
            if of_it.iter().any(|event| is_due(event.sequence - last)) {
                rows.extend(self.states_of(connection, &of_it).await?);
            }
        }
        Ok(rows)
    }

    /// Folds one aggregate from its last stored state to the last of `events`, which are its events of this batch.
    async fn states_of(
        &self,
        connection: &mut PgConnection,
        events: &[&Recorded],
    ) -> Result<Vec<StateRow>, ReadModelFailure> {
        let Some(first) = events.first() else { return Ok(vec![]) };
        let Some(mut folded) = self.last_state(connection, &first.aggregate_id).await? else {
            return Ok(vec![]);
        };
        let mut earlier = Some(Life {
            organization_id: &first.organization_id,
            kind: K::KIND,
            aggregate_id: &first.aggregate_id,
            after: folded.sequence,
            upto: first.sequence - 1,
            upto_in_organization: i64::MAX,
        });
        while let Some(life) = earlier {
            let page = life::page(connection, life).await?;
            page.events.iter().for_each(|event| folded.evolve(event));
            earlier = page.rest;
        }
        let last_batch = self.events.iter().filter(|event| event.aggregate_id == first.aggregate_id);
        for event in last_batch.chain(events.iter().copied()) {
            if event.sequence == folded.sequence + 1 {
                folded.evolve(event);
            }
        }
        match events.last() {
            Some(last) if last.sequence == folded.sequence => Ok(folded.to_store().to_vec()),
            _ => Err(ReadModelFailure::NotCommittedYet(first.aggregate_id.clone())),
        }
    }

    /// The aggregate as it was last stored; `None` if what is stored cannot be read. Then no further state is stored until the
    /// table is rebuilt.
    async fn last_state(
        &self,
        connection: &mut PgConnection,
        id: &str,
    ) -> Result<Option<FoldedStates<K::Rows>>, ReadModelFailure> {
        let row = match self.stored.get(id) {
            Some(row) => Some(row.clone()),
            None => stored::last::<K>(connection, id).await?,
        };
        Ok(match row {
            Some(row) => stored::readable(K::NAME, id, row.sequence, FoldedStates::after(&row, K::VERSION)),
            None => Some(FoldedStates::before_first(K::KIND, K::VERSION)),
        })
    }
}

/// Folds do not need the metadata.
fn without_metadata(event: &Recorded) -> Recorded {
    Recorded {
        position: event.position,
        organization_id: event.organization_id.clone(),
        organization_sequence: event.organization_sequence,
        aggregate_id: event.aggregate_id.clone(),
        sequence: event.sequence,
        event: event.event.clone(),
        metadata: Metadata::default(),
        recorded_at: event.recorded_at,
    }
}
