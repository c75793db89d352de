//! What every read model consists of, and the live fold of read models with one row for each aggregate.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;

use async_trait::async_trait;
use identity_domain::Kind;
use identity_log::copy::CopyWriter;
use identity_log::{
    AcceptedCommand, Fold, ReadModel, ReadModelError, ReadModelFailure, Recorded, StoredState, Writes,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::change::Change;
use crate::columns::{Column, Index};

/// A read model: the fold of one aggregate's events, and the table for its rows.
pub trait Projection: Send + Sync + 'static {
    /// The name of the read model and of its table.
    const NAME: &'static str;
    /// The version of the fold. A higher version makes the service rebuild the table.
    const VERSION: i32;
    /// The aggregate type whose events it folds.
    const KIND: Kind;
    /// Whether requests cannot be answered without the table.
    const IS_NEEDED: bool = true;
    /// The event types that change a row. A rebuild reads no others. `None` stands for all.
    const EVENT_TYPES: Option<&'static [&'static str]> = None;
    /// How many events an aggregate has at least if it has a row. A rebuild does not read those with fewer.
    const MIN_EVENTS: i64 = 1;
    /// The row, or all rows, of one aggregate.
    type Row: Clone + PartialEq + Send + Sync + 'static;

    /// The row after an event; `None` if the aggregate has no row.
    fn fold(row: Option<Self::Row>, event: &Recorded) -> Option<Self::Row>;

    /// A fold for live writes that has read nothing yet.
    fn live() -> Box<dyn Fold>;

    /// The columns of the table. The first one is the id of the aggregate.
    const COLUMNS: &'static [Column];

    /// How many of the first columns are the key of a row.
    const KEY_COLUMNS: usize = 1;

    /// The indexes of the table, but for that of its key.
    const INDEXES: &'static [Index] = &[];

    /// Writes the table rows of one aggregate, for a rebuild.
    fn copy(id: &str, row: &Self::Row, writer: &mut CopyWriter) -> Result<(), ReadModelFailure>;

    /// The last states of aggregates that are stored, if any are.
    fn last_states(
        _connection: &mut PgConnection,
        _ids: &[&str],
    ) -> impl Future<Output = Result<Vec<StoredState>, ReadModelFailure>> + Send {
        std::future::ready(Ok(vec![]))
    }
}

/// A read model with one row for each aggregate. A live write reads the row, folds it, and writes it.
pub trait LoadedModel: Projection {
    /// Whether the row is handed out with the answer to a command.
    const IS_HANDED_OUT: bool = false;

    /// The rows of aggregates. Table names are unqualified: the search path selects the live or the next table.
    fn load(
        connection: &mut PgConnection,
        ids: &[&str],
    ) -> impl Future<Output = Result<HashMap<String, Self::Row>, ReadModelFailure>> + Send;

    /// Adds the writes that apply the changes to the table.
    fn store(changes: &[Change<Self::Row>], writes: &mut Writes) -> Result<(), ReadModelFailure>;
}

/// A [`Projection`] as the log sees it.
#[derive(Debug)]
pub struct LiveProjection<P>(PhantomData<fn() -> P>);

impl<P> LiveProjection<P> {
    /// The projection as a read model of the log.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<P> Default for LiveProjection<P> {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl<P: Projection> ReadModel for LiveProjection<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn begin(&self) -> Box<dyn Fold> {
        P::live()
    }

    async fn last_states(
        &self,
        connection: &mut PgConnection,
        kind: Kind,
        ids: &[&str],
    ) -> Result<Vec<StoredState>, ReadModelError> {
        if kind != P::KIND {
            return Ok(vec![]);
        }
        let states = P::last_states(connection, ids).await;
        states.map_err(|source| ReadModelError { read_model: P::NAME, source })
    }
}

/// The live fold of a [`LoadedModel`]. It knows the rows that the last batch changed, since that batch may not be
/// committed yet; `None` stands for a removed row.
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
        let unknown: Vec<&str> = self.unknown(events, writes).into_iter().collect();
        let mut before =
            if unknown.is_empty() { HashMap::new() } else { P::load(connection, &unknown).await? };
        let known = std::mem::take(&mut self.0);
        before.extend(known.into_iter().filter_map(|(id, row)| Some((id, row?))));
        let events: Vec<&Recorded> = of_kind::<P>(events).collect();
        let wanted = wanted_rows::<P>(writes);
        let wanted = wanted.map(|(place, command)| (place, command.clone())).collect();
        let changes = fold_all::<P>(before, &events, wanted, writes);
        if !changes.is_empty() {
            P::store(&changes, writes)?;
        }
        self.0 = changes.into_iter().map(|change| (change.id, change.after)).collect();
        Ok(())
    }

    /// The aggregates whose rows this batch needs and which are not known.
    pub(crate) fn unknown<'a>(&self, events: &'a [Recorded], writes: &'a Writes) -> HashSet<&'a str> {
        // An aggregate whose first event is in this batch has no row yet, so it need not be loaded.
        let new = of_kind::<P>(events).filter(|event| event.sequence == 1);
        let new: HashSet<&str> = new.map(|event| event.aggregate_id.as_str()).collect();
        let named = of_kind::<P>(events).map(|event| event.aggregate_id.as_str());
        let named = named.chain(wanted_rows::<P>(writes).map(|(_, command)| command.aggregate_id.as_str()));
        named.filter(|id| !self.0.contains_key(*id) && !new.contains(id)).collect()
    }

    /// The row of an aggregate, if it is known and there is one.
    pub(crate) fn row(&self, id: &str) -> Option<&P::Row> {
        self.0.get(id)?.as_ref()
    }

    /// Takes over a row that was loaded, unless a row of the aggregate is known.
    pub(crate) fn learn(&mut self, id: String, row: P::Row) {
        self.0.entry(id).or_insert(Some(row));
    }
}

fn of_kind<P: Projection>(events: &[Recorded]) -> impl Iterator<Item = &Recorded> {
    events.iter().filter(|event| event.event.kind() == P::KIND)
}

/// The rows of a batch while its events are folded.
struct FoldedRows<'a, P: Projection> {
    /// Rows that no event has changed yet.
    before: HashMap<String, P::Row>,
    changes: Vec<Change<P::Row>>,
    places: HashMap<&'a str, usize>,
}

impl<'a, P: Projection> FoldedRows<'a, P> {
    fn of(before: HashMap<String, P::Row>) -> Self {
        Self { before, changes: Vec::new(), places: HashMap::new() }
    }

    fn fold(&mut self, event: &'a Recorded) {
        let id = event.aggregate_id.as_str();
        let (before, changes) = (&mut self.before, &mut self.changes);
        let place = *self.places.entry(id).or_insert_with(|| {
            let row = before.remove(id);
            changes.push(Change { id: id.to_owned(), before: row.clone(), after: row });
            changes.len() - 1
        });
        if let Some(change) = changes.get_mut(place) {
            change.after = P::fold(change.after.take(), event);
        }
    }

    /// The row of an aggregate after the events that were folded so far.
    fn row(&self, id: &str) -> Option<&P::Row> {
        match self.places.get(id) {
            Some(place) => self.changes.get(*place).and_then(|change| change.after.as_ref()),
            None => self.before.get(id),
        }
    }

    /// The changes. Aggregates whose row does not change are left out.
    fn into_changes(mut self) -> Vec<Change<P::Row>> {
        self.changes.retain(|change| change.before != change.after);
        self.changes
    }
}

/// Folds events onto the rows `before`, and hands out the row of each command as it is after the command.
fn fold_all<P: LoadedModel>(
    before: HashMap<String, P::Row>,
    events: &[&Recorded],
    wanted: Vec<(usize, AcceptedCommand)>,
    writes: &mut Writes,
) -> Vec<Change<P::Row>> {
    let mut rows = FoldedRows::<P>::of(before);
    let mut events = events.iter().peekable();
    for (place, command) in wanted {
        while let Some(event) = events.next_if(|event| event.position <= command.position) {
            rows.fold(event);
        }
        if let Some(row) = rows.row(&command.aggregate_id) {
            writes.hand_out(place, row.clone());
        }
    }
    events.for_each(|event| rows.fold(event));
    rows.into_changes()
}

/// The commands of a batch after which this read model hands out a row, each with its index among the accepted commands.
fn wanted_rows<P: LoadedModel>(writes: &Writes) -> impl Iterator<Item = (usize, &AcceptedCommand)> {
    let commands = writes.commands().iter().enumerate();
    commands.filter(|(_, command)| P::IS_HANDED_OUT && command.kind == P::KIND)
}

/// The id of an aggregate as a UUID.
pub(crate) fn uuid_of(id: &str) -> Result<Uuid, ReadModelFailure> {
    id.parse().map_err(|_| ReadModelFailure::NotAnId(id.to_owned()))
}
