//! What every read model consists of, and the engine that keeps it up to date inside an append.

use std::collections::HashMap;
use std::marker::PhantomData;

use async_trait::async_trait;
use identity_domain::{Event, Kind};
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModel, ReadModelError, ReadModelFailure, Recorded, Writes};
use sqlx::PgConnection;
use uuid::Uuid;

/// The most rows of a read model that are kept in memory from one batch to the next.
const MOST: usize = 8_000;

/// A read model: what one aggregate's events come to, and where that is kept.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// The name of the read model and of its table.
    const NAME: &'static str;
    /// Raised whenever the fold changes, so that the table is rebuilt.
    const VERSION: i32;
    /// Whose events it folds.
    const KIND: Kind;
    /// What one aggregate comes to.
    type Row: Clone + PartialEq + Send + Sync;

    /// What the aggregate comes to after an event; `None` when nothing is kept of it.
    fn fold(row: Option<Self::Row>, event: &Recorded) -> Option<Self::Row>;

    /// Whether an event can change what is kept. One that cannot is not worth a look at the table.
    fn concerns(_event: &Event) -> bool {
        true
    }

    /// What is kept of some aggregates. Table names are unqualified: the search path says which generation of the
    /// tables is meant.
    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Self::Row>, ReadModelFailure>;

    /// The columns of the table, in the order in which [`Projection::copy`] writes them, the aggregate's id first.
    const COLUMNS: &'static [&'static str];

    /// How many of these columns, from the first, are the key of a row.
    const KEY_COLUMNS: usize = 1;

    /// Writes the table rows of one aggregate, for a rebuild.
    fn copy(id: &str, row: &Self::Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure>;

    /// Adds what makes the table say what the changes say.
    fn store(changes: &[&Change<Self::Row>], writes: &mut Writes) -> Result<(), ReadModelFailure>;
}

/// What is kept of one aggregate, before and after some events.
#[derive(Debug, Clone)]
pub struct Change<Row> {
    /// The aggregate.
    pub id: String,
    /// What was kept.
    pub before: Option<Row>,
    /// What is to be kept.
    pub after: Option<Row>,
}

impl<Row: PartialEq> Change<Row> {
    /// Whether anything is changed.
    fn is_one(&self) -> bool {
        self.before != self.after
    }
}

/// A [`Projection`] as the log sees it.
#[derive(Debug)]
pub struct Live<P>(PhantomData<fn() -> P>);

impl<P> Live<P> {
    /// The projection's live tables.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P> Default for Live<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl<P: Projection> ReadModel for Live<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn fold(&self) -> Box<dyn Fold> {
        Box::new(Rows::<P>(HashMap::new()))
    }
}

/// Rows as the batches that were folded have left them, or found them; none where nothing is kept of an aggregate.
struct Rows<P: Projection>(HashMap<String, Option<P::Row>>);

#[async_trait]
impl<P: Projection> Fold for Rows<P> {
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelError> {
        let folded = self.fold_batch(connection, events, writes).await;
        folded.map_err(|source| ReadModelError { read_model: P::NAME, source })
    }
}

impl<P: Projection> Rows<P> {
    async fn fold_batch(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelFailure> {
        let events: Vec<&Recorded> = events
            .iter()
            .filter(|event| event.event.kind() == P::KIND && P::concerns(&event.event))
            .collect();
        self.load(connection, &events).await?;
        let changes = fold_all::<P>(&mut self.0, &events);
        let real: Vec<&Change<P::Row>> = changes.iter().filter(|change| change.is_one()).collect();
        if !real.is_empty() {
            P::store(&real, writes)?;
        }
        // The last batch may not be written yet, and stays known; older ones can be read again.
        if self.0.len() + changes.len() > MOST {
            self.0.clear();
        }
        self.0.extend(changes.into_iter().map(|change| (change.id, change.after)));
        Ok(())
    }

    /// Reads what is not known of the aggregates of these events.
    async fn load(
        &mut self,
        connection: &mut PgConnection,
        events: &[&Recorded],
    ) -> Result<(), ReadModelFailure> {
        let unknown: Vec<&str> = events
            .iter()
            .filter(|event| !self.0.contains_key(&event.aggregate_id) && !is_born_among(event, events))
            .map(|event| event.aggregate_id.as_str())
            .collect();
        if !unknown.is_empty() {
            let found = P::load(connection, &unknown).await?;
            self.0.extend(found.into_iter().map(|(id, row)| (id, Some(row))));
        }
        Ok(())
    }
}

/// Whether the aggregate of `event` has its first event among `events`, so that nothing can be kept of it yet.
fn is_born_among(event: &Recorded, events: &[&Recorded]) -> bool {
    event.sequence == 1
        || events.iter().any(|other| other.sequence == 1 && other.aggregate_id == event.aggregate_id)
}

/// Folds events onto what was kept, which is taken out.
fn fold_all<P: Projection>(
    before: &mut HashMap<String, Option<P::Row>>,
    events: &[&Recorded],
) -> Vec<Change<P::Row>> {
    let mut changes: Vec<Change<P::Row>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for event in events {
        let id = event.aggregate_id.as_str();
        let place = *places.entry(id).or_insert_with(|| {
            let row = before.remove(id).flatten();
            changes.push(Change { id: id.to_owned(), before: row.clone(), after: row });
            changes.len() - 1
        });
        if let Some(change) = changes.get_mut(place) {
            change.after = P::fold(change.after.take(), event);
        }
    }
    changes
}

/// The id of an aggregate whose ids are UUIDs.
pub(crate) fn uuid_of(id: &str) -> Result<Uuid, ReadModelFailure> {
    id.parse().map_err(|_| ReadModelFailure::NotAnId(id.to_owned()))
}
