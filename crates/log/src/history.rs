//! One organization's events in the order in which they happened, as auditors see them.
//!
//! The end of a [`History`] is one that Postgres declared: a connection that breaks, a copy that stops in the middle
//! or a row that cannot be read is an error. Only one row is held at a time, however long the range is.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use identity_domain::Kind;
use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::codec::{DecodeError, decode_text};
use crate::copy::{CopyError, CopyReader, CopyRow};
use crate::error::ReadError;
use crate::metadata::Metadata;
use crate::recorded::{Recorded, write_timestamp};
use crate::scan::literal;

/// Which events are wanted. Everything that is left open is not restricted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whose.
    pub organization_id: String,
    /// Only those after this `organization_sequence`; 0 is the beginning.
    pub after: i64,
    /// Only those up to this `organization_sequence`, itself included.
    pub upto: i64,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only those of this aggregate type.
    pub kind: Option<Kind>,
    /// Only those of these aggregates; of none at all if the list is empty.
    pub aggregate_ids: Option<Vec<String>>,
    /// Only those of these types, by wire name; of none at all if the list is empty.
    pub event_types: Option<Vec<String>>,
}

impl Query {
    /// All events of an organization after one sequence and up to another.
    pub fn range(organization_id: &str, after: i64, upto: i64) -> Self {
        Self {
            organization_id: organization_id.to_owned(),
            after,
            upto,
            limit: None,
            kind: None,
            aggregate_ids: None,
            event_types: None,
        }
    }

    /// A copy takes no parameters, so the values stand in the statement as literals.
    fn statement(&self) -> String {
        let limit = self.limit.map(|limit| format!(" limit {limit}")).unwrap_or_default();
        format!(
            "copy (
                 select position, organization_sequence, aggregate_type, aggregate_id, sequence,
                        event_type, event_version, recorded_at, payload, metadata
                 from {}
                 where organization_id = {} and organization_sequence > {} and organization_sequence <= {}{}{}
                 order by organization_sequence{limit}
             ) to stdout (format binary)",
            self.source(),
            literal(&self.organization_id),
            self.after,
            self.upto,
            self.kind
                .map(|kind| format!(" and aggregate_type = {}", literal(kind.as_str())))
                .unwrap_or_default(),
            self.event_types.as_ref().map(|types| one_of("event_type", types)).unwrap_or_default(),
        )
    }

    /// Single aggregates are fetched by their own index first, which `offset 0` makes the planner do: going through
    /// the organization in order until the limit is reached may mean going through all of it.
    fn source(&self) -> String {
        let Some(ids) = &self.aggregate_ids else {
            return "events".to_owned();
        };
        let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
        let (kinds, ids) = (one_of("aggregate_type", &kinds), one_of("aggregate_id", ids));
        format!("(select * from events where true{kinds}{ids} offset 0) as events")
    }
}

/// A condition on a column. Postgres holds no NUL, so a value with one in it matches nothing, and must not get into
/// the statement.
fn one_of(column: &str, values: &[String]) -> String {
    let literals: Vec<String> =
        values.iter().filter(|value| !value.contains('\0')).map(|value| literal(value)).collect();
    if literals.is_empty() {
        return " and false".to_owned();
    }
    format!(" and {column} in ({})", literals.join(", "))
}

/// The `organization_sequence` of an organization's last event; 0 when there is none.
pub async fn head(executor: impl PgExecutor<'_>, organization_id: &str) -> Result<i64, ReadError> {
    let sequence: Option<i64> =
        sqlx::query_scalar("select sequence from organization_heads where organization_id = $1")
            .bind(organization_id)
            .fetch_optional(executor)
            .await?;
    Ok(sequence.unwrap_or_default())
}

/// The `organization_sequence` of the last event that had happened at `moment`; 0 when there was none. Moments ascend
/// with the sequence, so it is searched for by halves, and a sequence that is missing is an error.
pub async fn sequence_at(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    moment: OffsetDateTime,
) -> Result<i64, ReadError> {
    let sequence = sqlx::query_scalar(
        "with recursive search (low, high) as (
             select 0::bigint,
                    coalesce((select sequence from organization_heads where organization_id = $1), 0)
             union all
             select case when had_happened then middle else low end,
                    case when had_happened then high else middle - 1 end
             from search,
                  lateral (select (low + high + 1) / 2 as middle) as halves,
                  lateral (select recorded_at <= $2 as had_happened
                           from events
                           where organization_id = $1 and organization_sequence = middle) as probe
             where low < high
         )
         select low from search where low = high",
    )
    .bind(organization_id)
    .bind(moment)
    .fetch_one(executor)
    .await?;
    Ok(sequence)
}

/// A range of history being read, event by event.
pub struct History<'a> {
    rows: BoxStream<'a, sqlx::Result<Bytes>>,
    reader: CopyReader,
    organization_id: String,
}

impl std::fmt::Debug for History<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let organization_id = &self.organization_id;
        formatter.debug_struct("History").field("organization_id", organization_id).finish_non_exhaustive()
    }
}

impl<'a> History<'a> {
    /// Begins to read.
    pub async fn begin(connection: &'a mut PgConnection, query: &Query) -> Result<Self, ReadError> {
        let rows = connection.copy_out_raw(&query.statement()).await?;
        Ok(Self { rows, reader: CopyReader::default(), organization_id: query.organization_id.clone() })
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        while !self.reader.has_row()? {
            match self.rows.try_next().await? {
                Some(bytes) => self.reader.feed(&bytes),
                None => return Ok(self.reader.finish().map(|()| None)?),
            }
        }
        let Some(row) = self.reader.next_row()? else {
            return Ok(None);
        };
        Ok(Some(Entry::read(&self.organization_id, row)?))
    }
}

/// An event as it stands in the log, its JSON undecoded.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    position: i64,
    /// Whose history it belongs to.
    pub organization_id: &'a str,
    /// Dense within the organization.
    pub organization_sequence: i64,
    /// The type of what it happened to.
    pub aggregate_type: &'a str,
    /// What it happened to.
    pub aggregate_id: &'a str,
    /// Dense within the aggregate.
    pub sequence: i64,
    /// Its wire name.
    pub event_type: &'a str,
    /// The version of its shape.
    pub event_version: &'a str,
    /// When.
    pub recorded_at: OffsetDateTime,
    /// What happened: JSON text of an object.
    pub payload: &'a [u8],
    /// Who did it: JSON text of an object.
    pub metadata: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(organization_id: &'a str, mut row: CopyRow<'a>) -> Result<Self, CopyError> {
        Ok(Self {
            position: row.bigint()?,
            organization_id,
            organization_sequence: row.bigint()?,
            aggregate_type: row.text()?,
            aggregate_id: row.text()?,
            sequence: row.bigint()?,
            event_type: row.text()?,
            event_version: row.text()?,
            recorded_at: row.timestamp()?,
            payload: row.jsonb()?,
            metadata: row.jsonb()?,
        })
    }

    /// Writes the [`Envelope`](crate::envelope::Envelope) as JSON text without a line break. Payload and metadata go
    /// in as Postgres spells them: the same content, and nothing is decoded.
    pub fn write_envelope(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(b"{\"organization_id\":");
        write_string(self.organization_id, text);
        text.extend_from_slice(b",\"organization_sequence\":");
        write_number(self.organization_sequence, text);
        text.extend_from_slice(b",\"aggregate_type\":");
        write_string(self.aggregate_type, text);
        text.extend_from_slice(b",\"aggregate_id\":");
        write_string(self.aggregate_id, text);
        text.extend_from_slice(b",\"sequence\":");
        write_number(self.sequence, text);
        text.extend_from_slice(b",\"event_type\":");
        write_string(self.event_type, text);
        text.extend_from_slice(b",\"event_version\":");
        write_string(self.event_version, text);
        text.extend_from_slice(b",\"recorded_at\":\"");
        write_timestamp(self.recorded_at, text);
        text.extend_from_slice(b"\",\"payload\":");
        text.extend_from_slice(self.payload);
        text.extend_from_slice(b",\"metadata\":");
        text.extend_from_slice(self.metadata);
        text.push(b'}');
    }

    /// The event decoded, for folds. Who did it is left out: no fold asks.
    pub fn recorded(&self) -> Result<Recorded, ReadError> {
        let undecodable = |source| ReadError::Undecodable { position: self.position, source };
        let kind = Kind::parse(self.aggregate_type)
            .ok_or_else(|| undecodable(DecodeError::UnknownAggregate(self.aggregate_type.to_owned())))?;
        let event =
            decode_text(kind, self.event_type, self.event_version, self.payload).map_err(undecodable)?;
        Ok(Recorded {
            position: self.position,
            organization_id: self.organization_id.to_owned(),
            organization_sequence: self.organization_sequence,
            aggregate_id: self.aggregate_id.to_owned(),
            sequence: self.sequence,
            event,
            metadata: Metadata::default(),
            recorded_at: self.recorded_at,
        })
    }
}

fn write_string(value: &str, text: &mut Vec<u8>) {
    // Writing a string to memory does not fail.
    let _: serde_json::Result<()> = serde_json::to_writer(text, value);
}

fn write_number(value: i64, text: &mut Vec<u8>) {
    let _: serde_json::Result<()> = serde_json::to_writer(text, &value);
}

#[cfg(test)]
mod tests;
