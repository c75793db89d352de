//! Events of one aggregate type, aggregate by aggregate, for rebuilds and verification. The events of an
//! aggregate come together and in order, so a fold has one aggregate in memory at a time, however long the log is.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use identity_domain::{Event, Kind};
use sqlx::PgConnection;

use super::copy::{CopyReader, CopyRow};
use crate::error::ReadError;
use crate::event::codec::decode_text;
use crate::event::metadata::Metadata;
use crate::event::recorded::Recorded;

/// The columns of an event that a scan reads.
const COLUMNS: &str = "position, organization_id, organization_sequence, aggregate_id, sequence, event_type, event_version, recorded_at, payload";

/// How many sampled events there are for each range.
const SAMPLES_PER_RANGE: i64 = 8;

/// Which events are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Those of this aggregate type.
    pub kind: Kind,
    /// Of those, the ones with these event types; all if `None`.
    pub event_types: Option<&'static [&'static str]>,
    /// Of those, the ones of aggregates with at least so many events.
    pub min_events: i64,
}

impl Selection {
    /// All events of an aggregate type.
    pub const fn all(kind: Kind) -> Self {
        Self { kind, event_types: None, min_events: 1 }
    }

    /// Whether the type of an event is selected. `min_events` is not looked at.
    pub fn includes(&self, event: &Event) -> bool {
        event.kind() == self.kind
            && self.event_types.is_none_or(|event_types| event_types.contains(&event.name()))
    }

    /// The condition as SQL without parameters: COPY takes none.
    pub fn condition(self) -> String {
        let kind = format!("aggregate_type = {}", literal(self.kind.as_str()));
        let Some(event_types) = self.event_types else { return kind };
        let event_types: Vec<String> = event_types.iter().map(|event_type| literal(event_type)).collect();
        format!("{kind} and event_type in ({})", event_types.join(", "))
    }
}

/// The selected events of the aggregates whose ids lie in a range, up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateRange {
    /// Which events.
    pub selection: Selection,
    /// The first id. `None` begins with the very first.
    pub from: Option<String>,
    /// The first id of the next range. `None` ends with the very last.
    pub to: Option<String>,
    /// The last position that belongs to the range.
    pub upto: i64,
}

impl AggregateRange {
    /// The condition on a column of ids, as SQL without parameters: COPY takes none.
    pub fn condition(&self, column: &str) -> String {
        let from = self.from.as_deref().map(|id| format!(" and {column} >= {}", literal(id)));
        let to = self.to.as_deref().map(|id| format!(" and {column} < {}", literal(id)));
        format!("true{}{}", from.unwrap_or_default(), to.unwrap_or_default())
    }
}

/// Single aggregates of one type, with their events up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateSet {
    /// The aggregate type.
    pub kind: Kind,
    /// The aggregates.
    pub ids: Vec<String>,
    /// The last position that is read.
    pub upto: i64,
}

impl AggregateSet {
    /// The condition on a column of ids, as SQL without parameters.
    pub fn condition(&self, column: &str) -> String {
        if self.ids.is_empty() { "false".to_owned() } else { format!("{column} in ({})", self.literals()) }
    }

    fn literals(&self) -> String {
        self.ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(", ")
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Divides the aggregates of a type into at most `parts` ranges with about the same number of events up to a position. Of these
/// events the selected ones are read.
pub async fn ranges(
    connection: &mut PgConnection,
    selection: Selection,
    upto: i64,
    parts: i64,
) -> Result<Vec<AggregateRange>, ReadError> {
    // Postgres sorts the samples, so that the ranges follow its collation.
    let samples: Vec<String> = sqlx::query_scalar(
        "select distinct aggregate_id
         from events
         where aggregate_type = $1 and position in (select place * $2 / $3 from generate_series(1, $3) as place)
         order by aggregate_id",
    )
    .bind(selection.kind.as_str())
    .bind(upto)
    .bind(parts * SAMPLES_PER_RANGE)
    .fetch_all(connection)
    .await?;
    let step = usize::try_from(SAMPLES_PER_RANGE).unwrap_or(1);
    let bounds = samples.into_iter().skip(step).step_by(step).map(Some);
    let froms = [None].into_iter().chain(bounds.clone());
    let tos = bounds.chain([None]);
    Ok(froms.zip(tos).map(|(from, to)| AggregateRange { selection, from, to, upto }).collect())
}

/// Reads a range, aggregate by aggregate.
pub struct Scan<'a> {
    kind: Kind,
    rows: BoxStream<'a, sqlx::Result<Bytes>>,
    reader: CopyReader,
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scan").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<'a> Scan<'a> {
    /// Starts to read a range.
    pub async fn begin(connection: &'a mut PgConnection, range: &AggregateRange) -> Result<Self, ReadError> {
        let (selection, condition) = (range.selection, range.condition("aggregate_id"));
        let select = if selection.min_events > 1 {
            events_of_long_aggregates(selection, range.upto, &condition)
        } else {
            events_of_all_aggregates(selection, range.upto, &condition)
        };
        Self::copy(connection, selection.kind, &select).await
    }

    /// Starts to read single aggregates, one after the other: to sort their events together would take room for all of them.
    pub async fn of(connection: &'a mut PgConnection, set: &AggregateSet) -> Result<Self, ReadError> {
        let select = format!(
            "select {COLUMNS}
             from unnest(array[{}]::text[]) as wanted (id)
             cross join lateral (
                 select * from events where {} and aggregate_id = wanted.id and position <= {} order by sequence
             ) as events",
            set.literals(),
            Selection::all(set.kind).condition(),
            set.upto,
        );
        Self::copy(connection, set.kind, &select).await
    }

    async fn copy(connection: &'a mut PgConnection, kind: Kind, select: &str) -> Result<Self, ReadError> {
        let rows = connection.copy_out_raw(&format!("copy ({select}) to stdout (format binary)")).await?;
        Ok(Self { kind, rows, reader: CopyReader::default() })
    }

    /// The next event; `None` at the end. The end is known from the trailer of the copy: a broken connection is an error.
    pub async fn next(&mut self) -> Result<Option<Recorded>, ReadError> {
        loop {
            if let Some(row) = self.reader.next_row()? {
                return recorded(self.kind, row).map(Some);
            }
            match self.rows.try_next().await? {
                Some(bytes) => self.reader.feed(&bytes),
                None => return Ok(self.reader.finish().map(|()| None)?),
            }
        }
    }
}

fn events_of_all_aggregates(selection: Selection, upto: i64, condition: &str) -> String {
    format!(
        "select {COLUMNS}
         from events
         where {} and position <= {upto} and {condition}
         order by aggregate_id, sequence",
        selection.condition()
    )
}

/// Looks up the long aggregates first, by their event with the sequence `min_events`. No sort follows, which could be larger than
/// memory: the loop over the aggregates keeps the order, and whoever folds the events checks it.
pub(super) fn events_of_long_aggregates(selection: Selection, upto: i64, condition: &str) -> String {
    let Selection { kind, min_events, .. } = selection;
    let kind = literal(kind.as_str());
    format!(
        "select life.*
         from (select aggregate_id as long_id
               from events
               where aggregate_type = {kind} and sequence = {min_events} and position <= {upto} and {condition}
               order by aggregate_id
               offset 0) as long
         cross join lateral (
             select {COLUMNS}
             from events
             where {} and aggregate_id = long_id and position <= {upto}
             order by sequence
             offset 0
         ) as life",
        selection.condition()
    )
}

fn recorded(kind: Kind, mut row: CopyRow<'_>) -> Result<Recorded, ReadError> {
    let position = row.bigint()?;
    let (organization_id, organization_sequence) = (row.text()?.to_owned(), row.bigint()?);
    let (aggregate_id, sequence) = (row.text()?.to_owned(), row.bigint()?);
    let (event_type, version) = (row.text()?, row.text()?);
    let recorded_at = row.timestamp().map_err(ReadError::of_column(position, "recorded_at"))?;
    let event = decode_text(kind, event_type, version, row.jsonb()?)
        .map_err(|source| ReadError::Undecodable { position, source })?;
    Ok(Recorded {
        position,
        organization_id,
        organization_sequence,
        aggregate_id,
        sequence,
        event,
        metadata: Metadata::default(),
        recorded_at,
    })
}
