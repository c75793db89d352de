//! Reading the log by position, and single facts about it.

use std::collections::BTreeMap;

use identity_domain::Kind;
use identity_domain::json::Plain;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::ReadError;
use crate::event::codec::decode;
use crate::event::metadata::Metadata;
use crate::event::recorded::Recorded;
use crate::primary::Role;
use crate::read::moment::StoredMoment;
use crate::sole::{self, Holder};

const COLUMNS: &str = "position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence, \
                       event_type, event_version, payload, metadata, recorded_at";

/// Up to `limit` events after the position `after`, in order. Fewer than `limit` means that there are no more at present.
pub async fn page(executor: impl PgExecutor<'_>, after: i64, limit: i64) -> Result<Vec<Recorded>, ReadError> {
    let query = format!("select {COLUMNS} from events where position > $1 order by position limit $2");
    let rows = sqlx::query(&query).bind(after).bind(limit).fetch_all(executor).await?;
    rows.iter().map(recorded).collect()
}

/// The events at these positions, in order.
pub async fn at(executor: impl PgExecutor<'_>, positions: &[i64]) -> Result<Vec<Recorded>, ReadError> {
    let query = format!("select {COLUMNS} from events where position = any($1) order by position");
    let rows = sqlx::query(&query).bind(positions).fetch_all(executor).await?;
    rows.iter().map(recorded).collect()
}

/// The position of the last event; 0 if there is none.
pub async fn head(executor: impl PgExecutor<'_>) -> Result<i64, ReadError> {
    Ok(sqlx::query_scalar("select position from log_head").fetch_one(executor).await?)
}

/// The end of the log, the set of live tables of read models, and what the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The position of the last event; 0 if there is none.
    pub position: i64,
    /// How the server takes part in replication.
    pub role: Role,
    /// The sole process, if there is one.
    pub sole: Option<Holder>,
    /// Identifies the live tables. The value changes whenever a read model is rebuilt or rolled back.
    read_models: Option<String>,
    /// The leaf hash of the last event.
    last_leaf: Option<Vec<u8>>,
    /// The leaf hash of the event that was the last one in the earlier state.
    earlier_leaf: Option<Vec<u8>>,
}

impl LogState {
    /// Whether this is the history of `earlier` with more events, in the same tables. It is not after a backup was restored,
    /// nor when a standby becomes the primary. Both states have to be of one connection: another one may lead to another server.
    pub fn continues(&self, earlier: &Self) -> bool {
        self.read_models == earlier.read_models
            && (self.role == Role::Standby) == (earlier.role == Role::Standby)
            && self.position >= earlier.position
            && self.earlier_leaf == earlier.last_leaf
    }
}

/// The end of the log and the live tables, in one snapshot. `earlier` is the state that it is to be compared with.
pub async fn state(executor: impl PgExecutor<'_>, earlier: Option<&LogState>) -> Result<LogState, ReadError> {
    let row = sqlx::query(
        "select position, sole_process, sole_term, sole_recalled,
                (select string_agg(concat_ws(' ', name, built_at, retired_at), ',' order by name) from read_models) as read_models,
                (select leaf_hash from events where position = log_head.position) as last_leaf,
                (select leaf_hash from events where position = $1) as earlier_leaf,
                pg_is_in_recovery() as recovers,
                current_setting('synchronous_standby_names') <> '' as names_standbys
         from log_head",
    )
    .bind(earlier.map(|earlier| earlier.position))
    .fetch_one(executor)
    .await?;
    Ok(LogState {
        position: row.try_get("position")?,
        role: Role::of(row.try_get("recovers")?, row.try_get("names_standbys")?),
        sole: sole::holder(&row)?,
        read_models: row.try_get("read_models")?,
        last_leaf: row.try_get("last_leaf")?,
        earlier_leaf: row.try_get("earlier_leaf")?,
    })
}

/// The change that an event made to an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The type of the aggregate.
    pub kind: Kind,
    /// The aggregate.
    pub id: Uuid,
    /// The version of the aggregate after the event.
    pub version: i64,
    /// The organization of the identity, if the event deleted an identity.
    pub ended_in: Option<String>,
}

/// The changes of the events after `after` and up to `upto`. Aggregates whose ids are not UUIDs are left out.
pub async fn changes(executor: impl PgExecutor<'_>, after: i64, upto: i64) -> Result<Vec<Change>, ReadError> {
    let rows: Vec<(String, String, i64, Option<String>)> = sqlx::query_as(
        "select aggregate_type, aggregate_id, sequence,
                case when event_type = 'identity.deleted' then organization_id end
         from events
         where position > $1 and position <= $2
         order by position",
    )
    .bind(after)
    .bind(upto)
    .fetch_all(executor)
    .await?;
    let change = |(kind, id, version, ended_in): (String, String, i64, Option<String>)| {
        Some(Change { kind: Kind::parse(&kind)?, id: id.parse().ok()?, version, ended_in })
    };
    Ok(rows.into_iter().filter_map(change).collect())
}

/// The generation of the read models, the last sequence of an organization, and the leaf hash of the event with that
/// sequence. While all three are unchanged, an admin of the organization is shown the same. The leaf hash is needed
/// because a restored backup can reach the same sequence with other events.
pub async fn shown_history(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
) -> Result<(i64, i64, Vec<u8>), sqlx::Error> {
    sqlx::query_as(
        "select generation, coalesce(head.sequence, 0), coalesce(leaf_hash, '')
         from log_head
         left join organization_heads as head on head.organization_id = $1
         left join events as last
                   on last.organization_id = $1 and last.organization_sequence = head.sequence",
    )
    .bind(organization_id)
    .fetch_one(executor)
    .await
}

/// The version of an aggregate of an organization, and when it got it; `None` if it has no event.
pub async fn version(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    kind: Kind,
    aggregate_id: &str,
) -> Result<Option<(i64, OffsetDateTime)>, sqlx::Error> {
    let found: Option<(i64, StoredMoment)> = sqlx::query_as(
        "select sequence, recorded_at
         from events
         where aggregate_type = $1 and aggregate_id = $2 and organization_id = $3
         order by sequence desc
         limit 1",
    )
    .bind(kind.as_str())
    .bind(aggregate_id)
    .bind(organization_id)
    .fetch_optional(executor)
    .await?;
    Ok(found.map(|(sequence, moment)| (sequence, moment.into())))
}

/// Whether an id is that of an aggregate of an organization that is not of this type. Histories are told by ids alone.
pub async fn is_id_of_another_type(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    kind: Kind,
    aggregate_id: &str,
) -> Result<bool, sqlx::Error> {
    let others: Vec<&str> = Kind::ALL.into_iter().filter(|other| *other != kind).map(Kind::as_str).collect();
    sqlx::query_scalar(
        "select exists (select from events where aggregate_type = any($1) and aggregate_id = $2 and organization_id = $3)",
    )
    .bind(others)
    .bind(aggregate_id)
    .bind(organization_id)
    .fetch_one(executor)
    .await
}

/// SQL: joins the version of an aggregate of this type, and when the aggregate got it, as `version` and `versioned_at`. `id` is an
/// expression for the id of the aggregate.
pub fn joined_version(kind: Kind, id: &str) -> String {
    format!(
        "cross join lateral (
             select sequence as version, recorded_at as versioned_at
             from events
             where aggregate_type = '{}' and aggregate_id = {id}::text
             order by sequence desc
             limit 1
         ) as versions",
        kind.as_str()
    )
}

/// The moments of the first and the last event of an aggregate; `None` if it has none.
pub async fn lifetime(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    kind: Kind,
    aggregate_id: &str,
) -> Result<Option<(OffsetDateTime, OffsetDateTime)>, sqlx::Error> {
    let found: Option<(StoredMoment, StoredMoment)> = sqlx::query_as(
        "select min(recorded_at), max(recorded_at)
         from events
         where aggregate_type = $1 and aggregate_id = $2 and organization_id = $3
         having count(*) > 0",
    )
    .bind(kind.as_str())
    .bind(aggregate_id)
    .bind(organization_id)
    .fetch_optional(executor)
    .await?;
    Ok(found.map(|(first, last)| (first.into(), last.into())))
}

/// The events of several aggregates, in order of position. For each aggregate only those after its sequence in `after`, and of
/// these the first `limit`.
pub(crate) async fn aggregates(
    connection: &mut PgConnection,
    kinds: &[&str],
    ids: &[&str],
    after: &[i64],
    limit: i64,
) -> Result<Vec<Recorded>, ReadError> {
    let query = format!(
        "select event.*
         from unnest($1::text[], $2::text[], $3::bigint[]) as wanted (wanted_type, wanted_id, seen)
         cross join lateral (
             select {COLUMNS}
             from events
             where aggregate_type = wanted_type and aggregate_id = wanted_id and sequence > seen
             order by sequence
             limit $4
         ) as event
         order by position"
    );
    let query = sqlx::query(&query).bind(kinds).bind(ids).bind(after).bind(limit);
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(recorded).collect()
}

fn recorded(row: &PgRow) -> Result<Recorded, ReadError> {
    let position = row.try_get("position")?;
    let payload: Result<Json<Plain>, _> = row.try_get("payload");
    let Json(Plain(payload)) = payload.map_err(ReadError::of_column(position, "payload"))?;
    let event = decode(
        row.try_get("aggregate_type")?,
        row.try_get("event_type")?,
        row.try_get("event_version")?,
        payload,
    )
    .map_err(|source| ReadError::Undecodable { position, source })?;
    let metadata: Result<Json<BTreeMap<String, String>>, _> = row.try_get("metadata");
    let Json(metadata) = metadata.map_err(ReadError::of_column(position, "metadata"))?;
    let recorded_at: Result<StoredMoment, _> = row.try_get("recorded_at");
    Ok(Recorded {
        position,
        organization_id: row.try_get("organization_id")?,
        organization_sequence: row.try_get("organization_sequence")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event,
        metadata: Metadata(metadata),
        recorded_at: recorded_at.map_err(ReadError::of_column(position, "recorded_at"))?.into(),
    })
}

/// All vault secrets that an organization ever registered, deleted ones included.
pub(crate) async fn registered_secrets(
    connection: &mut PgConnection,
    organization_id: &str,
) -> Result<Vec<Uuid>, ReadError> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select aggregate_id::uuid
         from events
         where organization_id = $1 and aggregate_type = 'vault_secret' and sequence = 1
         order by aggregate_id",
    )
    .bind(organization_id)
    .fetch_all(connection)
    .await?;
    Ok(ids)
}
