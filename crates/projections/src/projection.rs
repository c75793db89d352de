//! What every read model consists of, and the live fold of read models with one row for each aggregate.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;

use async_trait::async_trait;
use identity_domain::Kind;
use identity_log::copy::CopyWriter;
use identity_log::{Fold, ReadModel, ReadModelError, ReadModelFailure, Recorded, Writes};
use sqlx::PgConnection;
use uuid::Uuid;

/// A read model: the fold of one aggregate's events, and the table for its rows.
pub trait Projection: Send + Sync + 'static {
    /// The name of the read model and of its table.
    const NAME: &'static str;
    /// The version of the fold. A higher version makes the service rebuild the table.
    const VERSION: i32;
    /// The aggregate type whose events it folds.
    const KIND: Kind;
    /// The row, or all rows, of one aggregate.
    type Row: Clone + PartialEq + Send + Sync;

    /// The row after an event; `None` if the aggregate has no row.
    fn fold(row: Option<Self::Row>, event: &Recorded) -> Option<Self::Row>;

    /// A fold for live writes that has read nothing yet.
    fn live() -> Box<dyn Fold>;

    /// The columns of the table, in the order in which [`Projection::copy`] writes them. The first one is the id of the aggregate.
    const COLUMNS: &'static [&'static str];

    /// How many of the first columns are the key of a row.
    const KEY_COLUMNS: usize = 1;

    /// Writes the table rows of one aggregate, for a rebuild.
    fn copy(id: &str, row: &Self::Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure>;
}

/// A read model with one row for each aggregate. A live write reads the row, folds it, and writes it.
#[async_trait]
pub trait LoadedModel: Projection {
    /// The rows of aggregates. Table names are unqualified: the search path selects the live or the next table.
    async fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> Result<HashMap<String, Self::Row>, ReadModelFailure>;

    /// Adds the writes that apply the changes to the table.
    fn store(changes: &[Change<Self::Row>], writes: &mut Writes) -> Result<(), ReadModelFailure>;
}

/// The row of one aggregate before and after a batch.
#[derive(Debug, Clone)]
pub struct Change<Row> {
    /// The aggregate.
    pub id: String,
    /// The row before the batch.
    pub before: Option<Row>,
    /// The row after the batch.
    pub after: Option<Row>,
}

/// A [`Projection`] as the log sees it.
#[derive(Debug)]
pub struct Live<P>(PhantomData<fn() -> P>);

impl<P> Live<P> {
    /// The projection as a read model of the log.
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

/// The live fold of a [`LoadedModel`]. It keeps the rows that the last batch changed, since that batch may not be committed yet; `None`
/// stands for a removed row.
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
        // An aggregate whose first event is in this batch has no row yet, so it need not be loaded.
        let new = events.iter().filter(|event| event.sequence == 1).map(|event| event.aggregate_id.as_str());
        let new: HashSet<&str> = new.collect();
        let named = events.iter().map(|event| event.aggregate_id.as_str());
        let unknown: HashSet<&str> =
            named.filter(|id| !last.contains_key(*id) && !new.contains(id)).collect();
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let mut before =
            if unknown.is_empty() { HashMap::new() } else { P::load(connection, &unknown).await? };
        before.extend(last.into_iter().filter_map(|(id, row)| Some((id, row?))));
        let changes = fold_all::<P>(before, &events);
        if !changes.is_empty() {
            P::store(&changes, writes)?;
        }
        self.0 = changes.into_iter().map(|change| (change.id, change.after)).collect();
        Ok(())
    }
}

/// Folds events onto the rows `before`. Aggregates whose row does not change are left out.
fn fold_all<P: LoadedModel>(
    mut before: HashMap<String, P::Row>,
    events: &[&Recorded],
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
        }
    }
    changes.retain(|change| change.before != change.after);
    changes
}

/// The id of an aggregate as a UUID.
pub(crate) fn uuid_of(id: &str) -> Result<Uuid, ReadModelFailure> {
    id.parse().map_err(|_| ReadModelFailure::NotAnId(id.to_owned()))
}
