//! One organization's events in the order in which they happened, as auditors see them.
//!
//! The end of a [`History`] is one that Postgres declared: a connection that breaks, a copy that stops in the middle
//! or a row that cannot be read is an error. Only one row is held at a time, however long the range is.

use futures::TryStreamExt;
use futures::stream::BoxStream;
use identity_domain::Kind;
use identity_proof::Hash;
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{PgConnection, PgExecutor, Row};
use time::OffsetDateTime;

use crate::codec::{DecodeError, decode_text};
use crate::copy::{self, CopyError};
use crate::error::ReadError;
use crate::metadata::Metadata;
use crate::recorded::{Recorded, write_timestamp};

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
    /// Whether each comes with its leaf hash.
    pub leaf_hashes: bool,
    /// Whether each comes with who did it, which folds do not ask for.
    pub metadata: bool,
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
            leaf_hashes: false,
            metadata: true,
        }
    }

    /// Whether every event of the range is wanted.
    pub fn is_whole(&self) -> bool {
        self.kind.is_none() && self.aggregate_ids.is_none() && self.event_types.is_none()
    }
}

/// The columns of an [`Entry`] from the events of an organization, in order; parameters as in [`History::begin`].
macro_rules! statement {
    ($source:literal) => {
        concat!(
            "select position, organization_sequence, aggregate_type, aggregate_id, sequence, event_type, event_version,
                    recorded_at, payload, case when $8 then metadata else '{}' end, case when $7 then leaf_hash end
             from ",
            $source,
            " where organization_id = $1
                and organization_sequence > $2
                and organization_sequence <= $3
                and ($4::text is null or aggregate_type = $4)
                and ($5::text[] is null or event_type = any($5))
              order by organization_sequence
              limit $6::bigint"
        )
    };
}

const OF_ALL: &str = statement!("events");

/// Single aggregates are fetched by their own index first, which `offset 0` makes the planner do: going through the
/// organization in order until the limit is reached may mean going through all of it.
const OF_SOME: &str = statement!(
    "(select * from events where aggregate_type = any($9) and aggregate_id = any($10) offset 0) as events"
);

/// Postgres holds no NUL, so a value with one in it matches nothing, and must not get that far.
fn storable(values: Option<&Vec<String>>) -> Option<Vec<String>> {
    values.map(|values| values.iter().filter(|value| !value.contains('\0')).cloned().collect())
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

/// A range of history being read, event by event. It may be dropped at any time: what is still on its way is read
/// over when the connection is used again.
pub struct History<'a> {
    rows: BoxStream<'a, sqlx::Result<PgRow>>,
    row: Option<PgRow>,
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
    pub fn begin(connection: &'a mut PgConnection, query: &Query) -> Self {
        let aggregate_ids = storable(query.aggregate_ids.as_ref());
        // Not kept prepared: a stream is begun once, and goes on for long.
        let statement = sqlx::query(if aggregate_ids.is_some() { OF_SOME } else { OF_ALL })
            .persistent(false)
            .bind(query.organization_id.clone())
            .bind(query.after)
            .bind(query.upto)
            .bind(query.kind.map(Kind::as_str))
            .bind(storable(query.event_types.as_ref()))
            .bind(query.limit.map(i64::from))
            .bind(query.leaf_hashes)
            .bind(query.metadata);
        let rows = match aggregate_ids {
            Some(ids) => {
                let kinds =
                    Kind::ALL.into_iter().filter(|kind| query.kind.is_none_or(|wanted| wanted == *kind));
                let kinds: Vec<&str> = kinds.map(Kind::as_str).collect();
                statement.bind(kinds).bind(ids).fetch(connection)
            }
            None => statement.fetch(connection),
        };
        Self { rows, row: None, organization_id: query.organization_id.clone() }
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        self.row = self.rows.try_next().await?;
        self.row.as_ref().map(|row| Entry::read(&self.organization_id, row)).transpose()
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
    /// What was hashed when it was appended, if that was asked for.
    pub leaf_hash: Option<Hash>,
}

impl<'a> Entry<'a> {
    fn read(organization_id: &'a str, row: &'a PgRow) -> Result<Self, ReadError> {
        Ok(Self {
            position: row.try_get(0)?,
            organization_id,
            organization_sequence: row.try_get(1)?,
            aggregate_type: row.try_get(2)?,
            aggregate_id: row.try_get(3)?,
            sequence: row.try_get(4)?,
            event_type: row.try_get(5)?,
            event_version: row.try_get(6)?,
            recorded_at: moment(row, 7)?,
            payload: json_text(row, 8)?,
            metadata: json_text(row, 9)?,
            leaf_hash: leaf_hash(row, 10)?,
        })
    }

    /// Writes the [`Envelope`](crate::envelope::Envelope) as JSON text without a line break. Payload and metadata go
    /// in as Postgres spells them: the same content, and nothing is decoded. The leaf hash, where there is one, is one
    /// member more at the very end.
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
        if let Some(hash) = &self.leaf_hash {
            text.extend_from_slice(b",\"leaf_hash\":\"");
            text.extend(hash.to_string().bytes());
            text.push(b'"');
        }
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

/// A moment, checked: sqlx panics at one that is out of range.
fn moment(row: &PgRow, column: usize) -> Result<OffsetDateTime, ReadError> {
    let bytes = row.try_get_raw(column)?.as_bytes().map_err(sqlx::Error::Decode)?;
    Ok(copy::moment(bytes)?)
}

/// The text of a jsonb: in its binary form a version and then the text.
fn json_text(row: &PgRow, column: usize) -> Result<&[u8], ReadError> {
    let value = row.try_get_raw(column)?;
    let binary = value.format() == PgValueFormat::Binary;
    match value.as_bytes().map_err(sqlx::Error::Decode)? {
        [1, json @ ..] if binary => Ok(json),
        _ => Err(CopyError("jsonb of another version").into()),
    }
}

fn leaf_hash(row: &PgRow, column: usize) -> Result<Option<Hash>, ReadError> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    let hash = bytes.map(|bytes| bytes.try_into().map(Hash)).transpose();
    Ok(hash.map_err(|_| CopyError("leaf hash of another size"))?)
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
