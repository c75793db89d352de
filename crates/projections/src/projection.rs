//! What every read model consists of, and the engine that keeps it up to date inside an append.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;

use async_trait::async_trait;
use identity_domain::Kind;
use identity_log::copy::CopyWriter;
use identity_log::{Fold, Made, ReadModel, ReadModelError, ReadModelFailure, Recorded, Writes};
use sqlx::PgConnection;
use uuid::Uuid;

/// A read model: what one aggregate's events come to, and where that is kept.
pub trait Projection: Send + Sync + 'static {
    /// The name of the read model and of its table.
    const NAME: &'static str;
    /// Raised whenever the fold changes, so that the table is rebuilt.
    const VERSION: i32;
    /// Whose events it folds.
    const KIND: Kind;
    /// What one aggregate comes to.
    type Row: Clone + PartialEq + Send + Sync + 'static;

    /// What the aggregate comes to after an event; `None` when nothing is kept of it.
    fn fold(row: Option<Self::Row>, event: &Recorded) -> Option<Self::Row>;

    /// A fold for live writes to which nothing is known yet.
    fn live() -> Box<dyn Fold>;

    /// The columns of the table, in the order in which [`Projection::copy`] writes them, the aggregate's id first.
    const COLUMNS: &'static [&'static str];

    /// How many of these columns, from the first, are the key of a row.
    const KEY_COLUMNS: usize = 1;

    /// Writes the table rows of one aggregate, for a rebuild.
    fn copy(id: &str, row: &Self::Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure>;
}

/// A read model of one row an aggregate: a live write reads the row, folds it, and writes it.
#[async_trait]
pub trait LoadedModel: Projection {
    /// Whether the row is handed out with the answer to the command that changed it.
    const IS_HANDED_OUT: bool = false;

    /// What is kept of some aggregates. Table names are unqualified: the search path says which generation of the
    /// tables is meant.
    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Self::Row>, ReadModelFailure>;

    /// Adds what makes the table say what the changes say.
    fn store(changes: &[Change<Self::Row>], writes: &mut Writes) -> Result<(), ReadModelFailure>;
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

impl<P: Projection> ReadModel for Live<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn begin(&self) -> Box<dyn Fold> {
        P::live()
    }
}

/// The live fold of a [`LoadedModel`]: the rows that the last batch has made; `None` for an aggregate of which nothing is
/// kept any more.
pub(crate) struct LoadedFold<P: LoadedModel>(HashMap<String, Option<P::Row>>);

impl<P: LoadedModel> Default for LoadedFold<P> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[async_trait]
impl<P: LoadedModel> Fold for LoadedFold<P> {
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

impl<P: LoadedModel> LoadedFold<P> {
    async fn fold_batch(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelFailure> {
        let events: Vec<&Recorded> = events.iter().filter(|event| event.event.kind() == P::KIND).collect();
        let last = std::mem::take(&mut self.0);
        // Nothing can be kept yet of an aggregate whose first event is in this batch.
        let born = events.iter().filter(|event| event.sequence == 1).map(|event| event.aggregate_id.as_str());
        let born: HashSet<&str> = born.collect();
        let named = events.iter().map(|event| event.aggregate_id.as_str());
        let unknown: HashSet<&str> =
            named.filter(|id| !last.contains_key(*id) && !born.contains(id)).collect();
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let mut before =
            if unknown.is_empty() { HashMap::new() } else { P::load(connection, &unknown).await? };
        before.extend(last.into_iter().filter_map(|(id, row)| Some((id, row?))));
        let changes = fold_all::<P>(before, &events, writes);
        if !changes.is_empty() {
            P::store(&changes, writes)?;
        }
        self.0 = changes.into_iter().map(|change| (change.id, change.after)).collect();
        Ok(())
    }
}

/// Folds events onto what was kept, and hands out the row after each command. Aggregates that come to what they were are left
/// out.
fn fold_all<P: LoadedModel>(
    mut before: HashMap<String, P::Row>,
    events: &[&Recorded],
    writes: &mut Writes,
) -> Vec<Change<P::Row>> {
    let mut changes: Vec<Change<P::Row>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for event in events {
        let id = event.aggregate_id.as_str();
        let place = *places.entry(id).or_insert_with(|| {
            let row = before.remove(id);
            changes.push(Change { id: id.to_owned(), before: row.clone(), after: row });
            changes.len() - 1
        });
        if let Some(change) = changes.get_mut(place) {
            change.after = P::fold(change.after.take(), event);
            if P::IS_HANDED_OUT
                && writes.is_end_of_command(event.position)
                && let Some(row) = &change.after
            {
                writes.hand_out(event.position, Made::new(row.clone()));
            }
        }
    }
    changes.retain(|change| change.before != change.after);
    changes
}

/// The id of an aggregate whose ids are UUIDs.
pub(crate) fn uuid_of(id: &str) -> Result<Uuid, ReadModelFailure> {
    id.parse().map_err(|_| ReadModelFailure::NotAnId(id.to_owned()))
}
