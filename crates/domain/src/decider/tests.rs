//! Aggregates in cqrs-es, tested with an aggregate that notices if an event is applied twice.

use std::sync::Mutex;

use cqrs_es::event_sink::EventSink;
use cqrs_es::mem_store::MemStore;
use cqrs_es::persist::{
    PersistedEventRepository, PersistedEventStore, PersistenceError, ReplayStream, SerializedEvent,
    SerializedSnapshot,
};
use cqrs_es::test::TestFramework;
use cqrs_es::{Aggregate, AggregateContext, CqrsFramework, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;

/// Counts its events, so that an event that is applied twice is noticed.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Incremented;

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("a counter does not count by zero")]
struct NothingToCount;

impl DomainEvent for Incremented {
    fn event_type(&self) -> String {
        "counter.incremented".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = usize;
    type Event = Incremented;
    type Error = NothingToCount;
    type Services = Facts;

    async fn handle(
        &mut self,
        command: usize,
        facts: &Facts,
        sink: &EventSink<Self>,
    ) -> Result<(), NothingToCount> {
        handle(self, &command, facts, sink).await
    }

    fn apply(&mut self, event: Incremented) {
        self.evolve(&event);
    }
}

impl Decider for Counter {
    fn decide(&self, command: &usize, _facts: &Facts) -> Result<Vec<Incremented>, NothingToCount> {
        if *command == 0 { Err(NothingToCount) } else { Ok(vec![Incremented; *command]) }
    }

    fn evolve(&mut self, Incremented: &Incremented) {
        self.0 += 1;
    }
}

/// A store of one aggregate, with the snapshot that cqrs-es asks it to keep.
#[derive(Default)]
struct Repository(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    events: Vec<SerializedEvent>,
    snapshot: Option<Snapshot>,
}

#[derive(Clone)]
struct Snapshot {
    number: usize,
    state: Value,
    sequence: usize,
}

impl PersistedEventRepository for &Repository {
    async fn get_events<A: Aggregate>(&self, id: &str) -> Result<Vec<SerializedEvent>, PersistenceError> {
        self.get_last_events::<A>(id, 0).await
    }

    async fn get_last_events<A: Aggregate>(
        &self,
        _id: &str,
        last: usize,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        Ok(self.0.lock().unwrap().events.iter().filter(|event| event.sequence > last).cloned().collect())
    }

    async fn get_snapshot<A: Aggregate>(
        &self,
        id: &str,
    ) -> Result<Option<SerializedSnapshot>, PersistenceError> {
        let snapshot = self.0.lock().unwrap().snapshot.clone();
        Ok(snapshot.map(|Snapshot { number, state, sequence }| SerializedSnapshot {
            aggregate_id: id.to_owned(),
            aggregate: state,
            current_sequence: sequence,
            current_snapshot: number,
        }))
    }

    async fn persist<A: Aggregate>(
        &self,
        events: &[SerializedEvent],
        snapshot: Option<(String, Value, usize)>,
    ) -> Result<(), PersistenceError> {
        let mut stored = self.0.lock().unwrap();
        stored.events.extend_from_slice(events);
        let sequence = stored.events.len();
        if let Some((_, state, number)) = snapshot {
            stored.snapshot = Some(Snapshot { number, state, sequence });
        }
        Ok(())
    }

    async fn stream_events<A: Aggregate>(&self, _id: &str) -> Result<ReplayStream, PersistenceError> {
        Ok(ReplayStream::new(1).1)
    }

    async fn stream_all_events<A: Aggregate>(&self) -> Result<ReplayStream, PersistenceError> {
        Ok(ReplayStream::new(1).1)
    }
}

type Store<'a> = PersistedEventStore<&'a Repository, Counter>;

/// Counts to four in single steps, and returns what the store loaded.
async fn count_to_four<S: EventStore<Counter>>(open: impl Fn() -> S) -> u64 {
    let framework = CqrsFramework::new(open(), vec![], Facts::default());
    for _ in 0..4 {
        framework.execute("the counter", 1).await.unwrap();
    }
    open().load_aggregate("the counter").await.unwrap().aggregate().0
}

#[tokio::test]
async fn no_store_of_cqrs_es_counts_an_event_twice() {
    let memory = MemStore::default();
    assert_eq!(count_to_four(|| memory.clone()).await, 4, "in memory");
    let kept = Repository::default();
    assert_eq!(count_to_four(|| Store::new_event_store(&kept)).await, 4, "by events");
    let kept = Repository::default();
    assert_eq!(count_to_four(|| Store::new_snapshot_store(&kept, 2)).await, 4, "by snapshots");
    let kept = Repository::default();
    assert_eq!(count_to_four(|| Store::new_aggregate_store(&kept)).await, 4, "by states");
}

#[tokio::test]
async fn handling_a_command_hands_over_events_and_leaves_the_aggregate_as_it_was() {
    let mut aggregate = Counter(7);
    let sink = EventSink::default();
    aggregate.handle(3, &Facts::default(), &sink).await.unwrap();
    assert_eq!(aggregate, Counter(7));
    assert_eq!(sink.collect().await, vec![Incremented; 3]);
}

#[test]
fn applying_an_event_is_evolving() {
    let mut aggregate = Counter(7);
    aggregate.apply(Incremented);
    assert_eq!(aggregate, Counter(8));
}

#[test]
fn the_test_framework_of_cqrs_es_sees_decisions_and_refusals() {
    let framework = || TestFramework::<Counter>::with(Facts::default());
    framework().given(vec![Incremented]).when(2).then_expect_events(vec![Incremented, Incremented]);
    framework().given_no_previous_events().when(0).then_expect_error(NothingToCount);
}
