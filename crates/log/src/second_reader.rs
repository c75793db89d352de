//! The second reader of history: the repository of postgres-es reads the table `events`, which has all columns that it needs, and
//! the aggregates of cqrs-es apply what was read. Our own reader has in common with it the types of the events, their upcasters,
//! and the rules by which an aggregate evolves. It has no query in common with it, and does not decode rows in the same way.
//!
//! Nothing else of these crates is used: their replay ends silently when the connection breaks and does not follow
//! commit order, and their snapshots apply events twice.

use std::panic::AssertUnwindSafe;
use std::vec;

use async_trait::async_trait;
use cqrs_es::EventEnvelope;
use cqrs_es::persist::{PersistedEventRepository as _, PersistenceError, SerializedEvent};
use futures::FutureExt as _;
use identity_domain::aggregate::Visitor;
use identity_domain::upcasting::upcast;
use identity_domain::{Decider, Event, Kind, State};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

use crate::error::ReadError;

/// How many events of an aggregate are in memory at a time.
const EVENTS_PER_PAGE: usize = 500;

/// What is said of the first event of a page that has an event which postgres-es cannot decode.
const UNREADABLE: &str = "it, or one of the 499 events behind it, has a row that cannot be decoded";

/// Loads one aggregate, event by event.
pub struct SecondReader {
    pool: PgPool,
    aggregate_id: String,
    /// The last position that is read: others may append events meanwhile.
    upto: i64,
    page: vec::IntoIter<SerializedEvent>,
    /// The last sequence of the pages that were read.
    read: usize,
    loading: Box<dyn Loading>,
}

impl std::fmt::Debug for SecondReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { aggregate_id, upto, read, .. } = self;
        let mut shown = formatter.debug_struct("SecondReader");
        shown.field("aggregate_id", aggregate_id).field("upto", upto).field("read", read);
        shown.finish_non_exhaustive()
    }
}

/// An event as postgres-es reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its place among the events of the aggregate.
    pub sequence: i64,
    /// The event, or why cqrs-es cannot decode it.
    pub event: Result<Event, String>,
}

impl SecondReader {
    /// A reader that has read nothing yet of an aggregate, whose events it reads up to the position `upto`.
    pub fn new(pool: &PgPool, kind: Kind, aggregate_id: &str, upto: i64) -> Self {
        Self {
            pool: pool.clone(),
            aggregate_id: aggregate_id.to_owned(),
            upto,
            page: vec![].into_iter(),
            read: 0,
            loading: kind.visit(Begin),
        }
    }

    /// The next event, if there is one up to this sequence, or on the same page.
    pub async fn next(&mut self, sequence: i64) -> Result<Option<Loaded>, ReadError> {
        let wanted = usize::try_from(sequence).unwrap_or_default();
        while self.page.len() == 0 && self.read < wanted {
            let page = self.read_page().await?;
            self.read += EVENTS_PER_PAGE;
            match page {
                Some(page) => self.page = page.into_iter(),
                None => return Ok(Some(Loaded { sequence, event: Err(UNREADABLE.to_owned()) })),
            }
        }
        Ok(self.page.next().map(|event| Loaded {
            sequence: i64::try_from(event.sequence).unwrap_or(i64::MAX),
            event: self.loading.apply(event).map_err(|error| error.to_string()),
        }))
    }

    /// The aggregate after the events that were read.
    pub fn state(&self) -> State {
        self.loading.state()
    }

    /// The repository loads all events of an aggregate at once, so it is shown a part of the table. A page is a range of sequences,
    /// so the first pages of all aggregates are read by one prepared statement.
    /// `None` if it cannot decode an event of the page.
    async fn read_page(&self) -> Result<Option<Vec<SerializedEvent>>, ReadError> {
        let Self { upto, read, .. } = self;
        let last = read + EVENTS_PER_PAGE;
        let page = format!(
            "(select * from events where position <= {upto} and sequence > {read} and sequence <= {last}) as events"
        );
        let repository = PostgresEventRepository::new(self.pool.clone()).with_tables(&page, "snapshots");
        // The repository panics if it cannot decode a row, for example a payload with a number that is too large for an `f64`.
        let reading = AssertUnwindSafe(self.loading.read(&repository, &self.aggregate_id)).catch_unwind();
        let Ok(events) = reading.await else { return Ok(None) };
        // Nothing was decoded yet, so the error is one of the connection or of Postgres.
        events.map(Some).map_err(|error| ReadError::SecondReader(Box::new(error)))
    }
}

/// An aggregate of cqrs-es that is being loaded, whatever its type.
#[async_trait]
trait Loading: Send + Sync {
    async fn read(
        &self,
        repository: &PostgresEventRepository,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError>;

    fn apply(&mut self, event: SerializedEvent) -> Result<Event, PersistenceError>;

    fn state(&self) -> State;
}

struct LoadingOf<D: Decider> {
    aggregate: D,
    event: fn(D::Event) -> Event,
    state: fn(D) -> State,
}

#[async_trait]
impl<D: Decider> Loading for LoadingOf<D> {
    async fn read(
        &self,
        repository: &PostgresEventRepository,
        aggregate_id: &str,
    ) -> Result<Vec<SerializedEvent>, PersistenceError> {
        repository.get_events::<D>(aggregate_id).await
    }

    fn apply(&mut self, event: SerializedEvent) -> Result<Event, PersistenceError> {
        let event = EventEnvelope::<D>::try_from(upcast(event))?.payload;
        self.aggregate.apply(event.clone());
        Ok((self.event)(event))
    }

    fn state(&self) -> State {
        (self.state)(self.aggregate.clone())
    }
}

/// Begins to load an aggregate.
struct Begin;

impl Visitor for Begin {
    type Output = Box<dyn Loading>;

    fn visit<D: Decider>(self, event: fn(D::Event) -> Event, state: fn(D) -> State) -> Box<dyn Loading> {
        Box::new(LoadingOf { aggregate: D::default(), event, state })
    }
}
