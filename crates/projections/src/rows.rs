//! Read models that keep several rows of one aggregate, one row for each key.
//!
//! An event says which rows it puts or removes. A live write therefore reads no rows: its cost depends on how many
//! rows it changes, and not on how many rows the aggregate has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use identity_log::{Fold, ReadModelError, ReadModelFailure, Recorded, Writes};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::projection::{Projection, uuid_of};

/// What one event does to the rows of its aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<K, V> {
    /// It changes no row.
    Nothing,
    /// It adds a row, in place of the row with the same key if there is one.
    Put(K, V),
    /// It removes the row with this key.
    Remove(K),
    /// It replaces all rows with these.
    Replace(Vec<(K, V)>),
}

impl<K: Ord, V> Effect<K, V> {
    /// Applies the effect to all rows of the aggregate. `None` stands for no rows.
    pub(crate) fn apply(self, rows: Option<BTreeMap<K, V>>) -> Option<BTreeMap<K, V>> {
        let mut rows = rows.unwrap_or_default();
        match self {
            Self::Nothing => {}
            Self::Put(key, row) => {
                rows.insert(key, row);
            }
            Self::Remove(key) => {
                rows.remove(&key);
            }
            Self::Replace(new) => rows = new.into_iter().collect(),
        }
        (!rows.is_empty()).then_some(rows)
    }
}

/// What a batch of events does to the rows of one aggregate.
#[derive(Debug)]
pub struct RowChanges<K, V> {
    /// Whether all rows from before the batch are removed.
    pub(crate) is_replaced: bool,
    /// Keys of rows from before the batch that are removed.
    pub(crate) removed: BTreeSet<K>,
    /// Rows that are added or overwritten.
    pub(crate) put: BTreeMap<K, V>,
}

impl<K, V> Default for RowChanges<K, V> {
    fn default() -> Self {
        Self { is_replaced: false, removed: BTreeSet::new(), put: BTreeMap::new() }
    }
}

impl<K: Ord, V> RowChanges<K, V> {
    fn add(&mut self, effect: Effect<K, V>) {
        match effect {
            Effect::Nothing => {}
            Effect::Put(key, row) => {
                self.put.insert(key, row);
            }
            Effect::Remove(key) => {
                self.put.remove(&key);
                if !self.is_replaced {
                    self.removed.insert(key);
                }
            }
            Effect::Replace(rows) => {
                *self = Self { is_replaced: true, put: rows.into_iter().collect(), ..Self::default() };
            }
        }
    }
}

/// A read model with several rows for each aggregate.
pub trait RowModel: Projection<Row = BTreeMap<Self::Key, Self::Value>> {
    /// The key of a row within its aggregate.
    type Key: Ord + Send + 'static;
    /// The other columns of a row.
    type Value: Send + 'static;

    /// What an event does to the rows of its aggregate.
    fn effect(event: &Recorded) -> Effect<Self::Key, Self::Value>;

    /// Adds the writes that remove and put single rows. The rows that are replaced are deleted already.
    fn write(
        changes: &HashMap<Uuid, RowChanges<Self::Key, Self::Value>>,
        writes: &mut Writes,
    ) -> Result<(), ReadModelFailure>;
}

/// The live fold of a [`RowModel`]. It keeps nothing from one batch to the next.
pub(crate) struct RowFold<M>(std::marker::PhantomData<fn() -> M>);

impl<M> Default for RowFold<M> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

#[async_trait]
impl<M: RowModel> Fold for RowFold<M> {
    async fn fold(
        &mut self,
        _connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelError> {
        let written = changes::<M>(events).and_then(|changes| {
            delete_replaced::<M>(&changes, writes)?;
            M::write(&changes, writes)
        });
        written.map_err(|source| ReadModelError { read_model: M::NAME, source })
    }
}

type Changes<M> = HashMap<Uuid, RowChanges<<M as RowModel>::Key, <M as RowModel>::Value>>;

fn changes<M: RowModel>(events: &[Recorded]) -> Result<Changes<M>, ReadModelFailure> {
    let mut changes = Changes::<M>::new();
    for event in events.iter().filter(|event| event.event.kind() == M::KIND) {
        match M::effect(event) {
            Effect::Nothing => {}
            effect => changes.entry(uuid_of(&event.aggregate_id)?).or_default().add(effect),
        }
    }
    Ok(changes)
}

/// Deletes all rows of the aggregates whose rows are replaced.
fn delete_replaced<M: RowModel>(changes: &Changes<M>, writes: &mut Writes) -> Result<(), ReadModelFailure> {
    let replaced = changes.iter().filter(|(_, changes)| changes.is_replaced);
    let replaced: Vec<Uuid> = replaced.map(|(aggregate, _)| *aggregate).collect();
    let Some(column) = M::COLUMNS.first().filter(|_| !replaced.is_empty()) else { return Ok(()) };
    let (table, aggregate_id) = (M::NAME, column.name);
    writes
        .part(&format!("delete from {table} where {aggregate_id} = any(?) and exists (select from turn)"))
        .bind(replaced)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use identity_domain::Event;
    use identity_log::{Metadata, Recorded};
    use time::OffsetDateTime;

    use super::{Effect, RowModel};
    use crate::vault_access::VaultAccess;
    use crate::visibility::VisibilityRows;

    /// An example of every event of an aggregate type: those that the domain has committed.
    fn examples<M: RowModel>() -> Vec<Event> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/events");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let of_kind = format!("{}.", M::KIND.as_str());
        let files = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&of_kind));
        let texts = files.map(|file| std::fs::read_to_string(file).unwrap());
        texts.map(|text| Event::decode(M::KIND, serde_json::from_str(&text).unwrap()).unwrap()).collect()
    }

    fn recorded(event: Event) -> Recorded {
        Recorded {
            position: 1,
            organization_id: "org".to_owned(),
            organization_sequence: 1,
            aggregate_id: "aggregate".to_owned(),
            sequence: 1,
            event,
            metadata: Metadata::default(),
            recorded_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn a_rebuild_reads_the_events_that_change_a_row_and_no_others<M: RowModel>() {
        let with_effect = examples::<M>()
            .into_iter()
            .filter(|event| !matches!(M::effect(&recorded(event.clone())), Effect::Nothing));
        let with_effect: BTreeSet<String> = with_effect.map(|event| event.name().to_owned()).collect();
        let read: BTreeSet<String> = M::EVENT_TYPES.unwrap().iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(read, with_effect, "{}", M::NAME);
    }

    #[test]
    fn rebuilds_read_the_events_that_change_a_row_and_no_others() {
        a_rebuild_reads_the_events_that_change_a_row_and_no_others::<VisibilityRows>();
        a_rebuild_reads_the_events_that_change_a_row_and_no_others::<VaultAccess>();
    }
}
