//! The events of one organization in order, as auditors see them.
//!
//! A [`History`] ends only where Postgres says so: a broken connection and a row that cannot be read are errors. It
//! keeps one row in memory, however long the range is.

use futures::TryStreamExt;
use futures::stream::BoxStream;
use identity_domain::Kind;
use identity_proof::Hash;
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{PgConnection, PgExecutor, Row};
use time::OffsetDateTime;

use super::copy::CopyError;
use super::moment::StoredMoment;
use crate::error::ReadError;
use crate::event::codec::{DecodeError, decode_text};
use crate::event::metadata::Metadata;
use crate::event::recorded::{Recorded, write_timestamp};

/// A selection of events of one organization. A field that is `None` restricts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The organization.
    pub organization_id: String,
    /// Only events after this `organization_sequence`; 0 begins with the first event.
    pub after: i64,
    /// Only events up to and including this `organization_sequence`.
    pub upto: i64,
    /// The maximum number of events.
    pub limit: Option<u32>,
    /// Only events of this aggregate type.
    pub kind: Option<Kind>,
    /// Only events of these aggregates. An empty list selects nothing.
    pub aggregate_ids: Option<Vec<String>>,
    /// If aggregates are given: only events after this sequence of their aggregate.
    pub after_version: i64,
    /// Only events with these wire names. An empty list selects nothing.
    pub event_types: Option<Vec<String>>,
    /// Whether to read leaf hashes.
    pub leaf_hashes: bool,
    /// Whether to read metadata. Folds do not need it.
    pub metadata: bool,
}

impl Query {
    /// All events of an organization after `after` and up to `upto`.
    pub fn range(organization_id: &str, after: i64, upto: i64) -> Self {
        Self {
            organization_id: organization_id.to_owned(),
            after,
            upto,
            limit: None,
            kind: None,
            aggregate_ids: None,
            after_version: 0,
            event_types: None,
            leaf_hashes: false,
            metadata: true,
        }
    }

    /// Whether every event of the range is selected.
    pub fn is_whole(&self) -> bool {
        self.kind.is_none() && self.aggregate_ids.is_none() && self.event_types.is_none()
    }
}

/// SQL that selects the columns of an [`Entry`]. [`History::begin`] binds its parameters.
macro_rules! statement {
    ($source:literal) => {
        concat!(
            "select position, organization_sequence, aggregate_type, aggregate_id, sequence, event_type, event_version,
                    recorded_at, payload, case when $8 then metadata else '{}' end, case when $7 then leaf_hash end,
                    substring(leaf_hash for 6)
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

const FROM_ORGANIZATION: &str = statement!("events");

/// Selects from the events of single aggregates. `offset 0` forces the planner to use the index by aggregate. It
/// would otherwise read the organization in order until the limit is reached, which may be the whole history.
const FROM_AGGREGATES: &str = statement!(
    "(select * from events
      where aggregate_type = any($9) and aggregate_id = any($10) and sequence > $11 offset 0) as events"
);

/// Removes values that contain NUL. They match nothing, since Postgres cannot store NUL, and Postgres refuses them as
/// arguments.
fn storable(values: Option<&Vec<String>>) -> Option<Vec<String>> {
    values.map(|values| values.iter().filter(|value| !value.contains('\0')).cloned().collect())
}

/// The first bytes of a leaf hash. They tell the events of two histories with the same sequence apart.
pub type LeafStart = [u8; 6];

/// How the leaf hash of an event begins; `None` if there is no event with this `organization_sequence`.
pub async fn leaf_start_of(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    sequence: i64,
) -> Result<Option<LeafStart>, ReadError> {
    let bytes: Option<Vec<u8>> = sqlx::query_scalar(
        "select substring(leaf_hash for 6) from events where organization_id = $1 and organization_sequence = $2",
    )
    .bind(organization_id)
    .bind(sequence)
    .fetch_optional(executor)
    .await?;
    bytes.as_deref().map(leaf_start).transpose()
}

/// How the leaf hash of the event `upto` begins, if the event `known` is in the same history; `None` if either is missing. Both are
/// looked up in one snapshot.
pub async fn leaf_start_if_continued(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    (known, leaf_start_of_known): (i64, LeafStart),
    upto: i64,
) -> Result<Option<LeafStart>, ReadError> {
    let bytes: Option<Vec<u8>> = sqlx::query_scalar(
        "select substring(last.leaf_hash for 6)
         from events as last join events as known on known.organization_id = last.organization_id
         where last.organization_id = $1 and last.organization_sequence = $2
           and known.organization_sequence = $3 and substring(known.leaf_hash for 6) = $4",
    )
    .bind(organization_id)
    .bind(upto)
    .bind(known)
    .bind(leaf_start_of_known)
    .fetch_optional(executor)
    .await?;
    bytes.as_deref().map(leaf_start).transpose()
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

/// The `organization_sequence` of the last event at or before `moment`; 0 if there is none. Times ascend with the
/// sequence, so this is a binary search. A missing sequence is an error.
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

/// Reads a range of history event by event. It may be dropped before its end: sqlx skips the remaining rows when the
/// connection is used again.
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
    /// Starts to read the events that `query` selects.
    pub fn begin(connection: &'a mut PgConnection, query: &Query) -> Self {
        let aggregate_ids = storable(query.aggregate_ids.as_ref());
        // Not a cached prepared statement: it runs once, for a long time.
        let statement =
            sqlx::query(if aggregate_ids.is_some() { FROM_AGGREGATES } else { FROM_ORGANIZATION })
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
                statement.bind(kinds).bind(ids).bind(query.after_version).fetch(connection)
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

/// An event of a history, with its JSON not decoded.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub(crate) position: i64,
    /// The organization.
    pub organization_id: &'a str,
    /// The position in the history of the organization, without gaps.
    pub organization_sequence: i64,
    /// The aggregate type.
    pub aggregate_type: &'a str,
    /// The aggregate.
    pub aggregate_id: &'a str,
    /// The position among the events of the aggregate, without gaps.
    pub sequence: i64,
    /// The wire name of the event.
    pub event_type: &'a str,
    /// The event version.
    pub event_version: &'a str,
    /// When it was recorded.
    pub recorded_at: OffsetDateTime,
    /// The payload: JSON text of an object.
    pub payload: &'a [u8],
    /// The metadata: JSON text of an object.
    pub metadata: &'a [u8],
    /// The leaf hash that was stored with the event, if the query asks for it.
    pub leaf_hash: Option<Hash>,
    /// How the leaf hash begins.
    pub leaf_start: LeafStart,
}

impl<'a> Entry<'a> {
    pub(crate) fn read(organization_id: &'a str, row: &'a PgRow) -> Result<Self, ReadError> {
        let position = row.try_get(0)?;
        Ok(Self {
            position,
            organization_id,
            organization_sequence: row.try_get(1)?,
            aggregate_type: row.try_get(2)?,
            aggregate_id: row.try_get(3)?,
            sequence: row.try_get(4)?,
            event_type: row.try_get(5)?,
            event_version: row.try_get(6)?,
            recorded_at: moment(row, 7).map_err(ReadError::of_column(position, "recorded_at"))?,
            payload: json_text(row, 8)?,
            metadata: json_text(row, 9)?,
            leaf_hash: leaf_hash(row, 10)?,
            leaf_start: leaf_start(row.try_get(11)?)?,
        })
    }

    /// Appends the [`Envelope`](crate::event::envelope::Envelope) as JSON text without a line break. Payload and
    /// metadata are copied in the spelling of Postgres and not decoded. The leaf hash, if there is one, is an
    /// additional last member.
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

    /// Decodes the event for folds, without its metadata: no fold needs them.
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

fn moment(row: &PgRow, column: usize) -> Result<OffsetDateTime, sqlx::Error> {
    row.try_get::<StoredMoment, _>(column).map(OffsetDateTime::from)
}

/// The text of a jsonb. Its binary form is one byte for the version, and then the text.
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

fn leaf_start(bytes: &[u8]) -> Result<LeafStart, ReadError> {
    Ok(bytes.try_into().map_err(|_| CopyError("leaf hash of another size"))?)
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
