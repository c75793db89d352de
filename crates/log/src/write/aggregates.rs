//! The states of aggregates: loaded for the commands of a batch, and kept from batch to batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use identity_domain::Kind;
use sqlx::PgConnection;

use super::batch_needs::AggregateKey;
use super::decision_state::{DecisionState, StoredState};
use crate::error::BatchError;
use crate::event::recorded::Recorded;
use crate::read::pages;
use crate::read_model::ReadModel;

/// How many states of aggregates are kept from one batch to the next at most.
const MAX_CACHED_AGGREGATES: usize = 20_000;

/// How many events of an aggregate are read at a time. Before more are read, a stored state of it is looked up. Nearly all
/// aggregates have fewer, and are loaded with one query. Without a limit, Postgres could read the whole log for an aggregate that
/// has most of its events.
const EVENTS_PER_QUERY: i64 = 256;

/// The state of an aggregate up to `sequence`.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) organization_id: String,
    pub(super) sequence: i64,
    pub(super) known: DecisionState,
    /// The position of the log up to which this was last looked up or changed.
    as_of: i64,
}

/// States of aggregates, by type and id.
#[derive(Debug, Default)]
pub(super) struct Aggregates(HashMap<AggregateKey, Aggregate>);

/// What is loaded, and on which state of the log.
pub(super) struct Loading<'a> {
    /// Where states of long aggregates may be stored.
    pub(super) read_models: &'a [Arc<dyn ReadModel>],
    /// The last position of the log.
    pub(super) now: i64,
    /// The position up to which all events are committed.
    pub(super) committed: i64,
    /// The position since which no other process has written.
    pub(super) no_other_writer_since: i64,
}

impl Aggregates {
    /// Without states that contain events after `position`.
    pub(super) fn up_to(mut self, position: i64) -> Self {
        self.0.retain(|_, aggregate| aggregate.as_of <= position);
        self
    }

    pub(super) fn get(&self, key: &AggregateKey) -> Option<&Aggregate> {
        self.0.get(key)
    }

    /// Loads the aggregates that are not current. An entry that was looked up after the last write of another process is current
    /// and is not read again.
    ///
    /// However many events an aggregate has, few are read: the first ones, and those after its last stored state. If no state is
    /// stored, all are read.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        loading: &Loading<'_>,
        mut keys: HashSet<AggregateKey>,
    ) -> Result<(), BatchError> {
        if self.0.len() + keys.len() > MAX_CACHED_AGGREGATES {
            self.0.retain(|_, aggregate| aggregate.as_of > loading.committed);
        }
        keys.retain(|key| {
            let cached = self.0.get(key);
            cached.is_none_or(|aggregate| aggregate.as_of < loading.no_other_writer_since)
        });
        if keys.is_empty() {
            return Ok(());
        }
        let mut unread = self.read(connection, keys.iter().collect()).await?;
        if !unread.is_empty() {
            self.load_states(connection, loading.read_models, &unread).await?;
        }
        while !unread.is_empty() {
            unread = self.read(connection, unread).await?;
        }
        for key in &keys {
            if let Some(aggregate) = self.0.get_mut(key) {
                aggregate.as_of = loading.now;
            }
        }
        Ok(())
    }

    /// Reads the next events of each aggregate, and applies them. Returns the aggregates that may have more.
    async fn read<'a>(
        &mut self,
        connection: &mut PgConnection,
        keys: Vec<&'a AggregateKey>,
    ) -> Result<Vec<&'a AggregateKey>, BatchError> {
        let seen: Vec<i64> = keys.iter().map(|key| self.sequence(key)).collect();
        let (kinds, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(kind, id)| (kind.as_str(), id.as_str())).unzip();
        for event in pages::aggregates(connection, &kinds, &ids, &seen, EVENTS_PER_QUERY).await? {
            self.evolve(&event);
        }
        let before = keys.into_iter().zip(seen);
        let full = before.filter(|(key, seen)| self.sequence(key) - seen >= EVENTS_PER_QUERY);
        Ok(full.map(|(key, _)| key).collect())
    }

    /// Replaces states by stored ones that contain more events.
    async fn load_states(
        &mut self,
        connection: &mut PgConnection,
        read_models: &[Arc<dyn ReadModel>],
        keys: &[&AggregateKey],
    ) -> Result<(), BatchError> {
        for kind in Kind::ALL {
            let ids = keys.iter().filter(|(of, _)| *of == kind).map(|(_, id)| id.as_str());
            let ids: Vec<&str> = ids.collect();
            if ids.is_empty() {
                continue;
            }
            for read_model in read_models {
                for stored in read_model.last_states(connection, kind, &ids).await? {
                    self.take_over(kind, stored);
                }
            }
        }
        Ok(())
    }

    fn take_over(&mut self, kind: Kind, stored: StoredState) {
        let StoredState { aggregate_id, organization_id, sequence, state } = stored;
        let key = (kind, aggregate_id);
        if self.sequence(&key) < sequence {
            self.0.insert(key, Aggregate { organization_id, sequence, known: state, as_of: 0 });
        }
    }

    /// The sequence up to which an aggregate is known; 0 if it is not.
    fn sequence(&self, key: &AggregateKey) -> i64 {
        self.0.get(key).map_or(0, |aggregate| aggregate.sequence)
    }

    pub(super) fn evolve(&mut self, recorded: &Recorded) {
        let aggregate =
            self.0.entry((recorded.event.kind(), recorded.aggregate_id.clone())).or_insert_with(|| {
                Aggregate {
                    organization_id: recorded.organization_id.clone(),
                    sequence: 0,
                    known: DecisionState::initial(recorded.event.kind()),
                    as_of: 0,
                }
            });
        aggregate.as_of = recorded.position;
        aggregate.sequence = recorded.sequence;
        aggregate.known.evolve(recorded);
    }
}
