//! All history of one aggregate type in the order of its aggregates, for whoever folds all of it: every aggregate's
//! events come together and in order, so a fold holds one aggregate at a time, however long the log is.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use identity_domain::Kind;
use sqlx::PgConnection;

use crate::codec::decode_text;
use crate::copy::{CopyReader, CopyRow};
use crate::error::ReadError;
use crate::metadata::Metadata;
use crate::recorded::Recorded;

/// How many samples of the log decide where one range ends.
const SAMPLES: i64 = 8;

/// A part of an aggregate type's history: the aggregates whose ids lie in a range, up to a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Whose events.
    pub kind: Kind,
    /// The first id; without it, from the very first.
    pub from: Option<String>,
    /// Where the next range begins; without it, to the very last.
    pub to: Option<String>,
    /// The last position that belongs to it.
    pub upto: i64,
}

impl Range {
    /// The condition on a column of ids, in SQL, for statements that take no parameters.
    pub fn condition(&self, column: &str) -> String {
        let from = self.from.as_deref().map(|id| format!(" and {column} >= {}", literal(id)));
        let to = self.to.as_deref().map(|id| format!(" and {column} < {}", literal(id)));
        format!("true{}{}", from.unwrap_or_default(), to.unwrap_or_default())
    }
}

/// A text in SQL, for statements that take no parameters.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Cuts the history of `kind` up to a position into at most `parts` ranges of about as many events each.
pub async fn ranges(
    connection: &mut PgConnection,
    kind: Kind,
    upto: i64,
    parts: i64,
) -> Result<Vec<Range>, ReadError> {
    // Ordered by the database, so that the ranges agree with its collation.
    let samples: Vec<String> = sqlx::query_scalar(
        "select distinct aggregate_id
         from events
         where aggregate_type = $1 and position in (select place * $2 / $3 from generate_series(1, $3) as place)
         order by aggregate_id",
    )
    .bind(kind.as_str())
    .bind(upto)
    .bind(parts * SAMPLES)
    .fetch_all(connection)
    .await?;
    let step = usize::try_from(SAMPLES).unwrap_or(1);
    let bounds = samples.into_iter().skip(step).step_by(step).map(Some);
    let froms = [None].into_iter().chain(bounds.clone());
    let tos = bounds.chain([None]);
    Ok(froms.zip(tos).map(|(from, to)| Range { kind, from, to, upto }).collect())
}

/// A range being read, aggregate by aggregate.
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
    /// Begins to read a range.
    pub async fn begin(connection: &'a mut PgConnection, range: &Range) -> Result<Self, ReadError> {
        let statement = format!(
            "copy (
                 select position, organization_id, organization_sequence, aggregate_id, sequence,
                        event_type, event_version, recorded_at, payload
                 from events
                 where aggregate_type = {} and position <= {} and {}
                 order by aggregate_id, sequence
             ) to stdout (format binary)",
            literal(range.kind.as_str()),
            range.upto,
            range.condition("aggregate_id"),
        );
        let rows = connection.copy_out_raw(&statement).await?;
        Ok(Self { kind: range.kind, rows, reader: CopyReader::default() })
    }

    /// The next event. The end is only an end when Postgres said so: a connection that breaks is an error.
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

fn recorded(kind: Kind, mut row: CopyRow<'_>) -> Result<Recorded, ReadError> {
    let position = row.bigint()?;
    let (organization_id, organization_sequence) = (row.text()?.to_owned(), row.bigint()?);
    let (aggregate_id, sequence) = (row.text()?.to_owned(), row.bigint()?);
    let (event_type, version) = (row.text()?, row.text()?);
    let recorded_at = row.timestamp()?;
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
