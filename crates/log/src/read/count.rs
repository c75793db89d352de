//! Counts the events that a scan must read, so that an incomplete scan is noticed, and finds the places where events are missing.

use identity_domain::Kind;
use sqlx::{PgConnection, PgExecutor};

use super::scan::Selection;
use crate::error::ReadError;

/// How many of the selected events there are up to a position. A scan of all ranges must read as many.
///
/// Fails if an event is missing, which the total count shows since positions have no gaps, and if the aggregate type
/// of an event is unknown, since no read model would fold that event.
pub async fn count_events(
    connection: &mut PgConnection,
    selection: Selection,
    upto: i64,
) -> Result<u64, ReadError> {
    let (selected, of_all, unknown): (i64, i64, Option<i64>) = sqlx::query_as(
        "select count(*) filter (where aggregate_type = $1 and ($4::text[] is null or event_type = any ($4))),
                count(*),
                min(position) filter (where aggregate_type <> all ($2))
         from events
         where position <= $3",
    )
    .bind(selection.kind.as_str())
    .bind(Kind::ALL.map(Kind::as_str))
    .bind(upto)
    .bind(selection.event_types)
    .fetch_one(&mut *connection)
    .await?;
    if of_all != upto {
        return Err(ReadError::Missing { position: first_missing(connection, upto).await? });
    }
    if let Some(position) = unknown {
        return Err(ReadError::UnknownAggregate { position });
    }
    let selected = if selection.min_events > 1 {
        of_long_aggregates(connection, selection, upto).await?
    } else {
        selected
    };
    Ok(u64::try_from(selected).unwrap_or_default())
}

/// How many of the selected events belong to aggregates with at least `min_events` events.
async fn of_long_aggregates(
    connection: &mut PgConnection,
    selection: Selection,
    upto: i64,
) -> Result<i64, ReadError> {
    let count = sqlx::query_scalar(
        "select count(*)
         from (select aggregate_id as long_id
               from events
               where aggregate_type = $1 and sequence = $2 and position <= $3
               offset 0) as long
         cross join lateral (
             select from events
             where aggregate_type = $1 and aggregate_id = long_id and position <= $3
               and ($4::text[] is null or event_type = any ($4))
             offset 0
         ) as life",
    )
    .bind(selection.kind.as_str())
    .bind(selection.min_events)
    .bind(upto)
    .bind(selection.event_types)
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// The first position without an event.
async fn first_missing(connection: &mut PgConnection, upto: i64) -> Result<i64, ReadError> {
    let gaps = gaps(connection, Place::Log, upto, 1).await?;
    Ok(gaps.first().map_or(upto + 1, |(first, _)| *first))
}

/// Where the places of events are counted without gaps.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the log: `position`.
    Log,
    /// In the history of the organization with this id: `organization_sequence`.
    History(&'a str),
}

impl<'a> Place<'a> {
    /// The column with the place of an event.
    pub const fn column(self) -> &'static str {
        match self {
            Self::Log => "position",
            Self::History(_) => "organization_sequence",
        }
    }

    /// The id of the organization; none for the log.
    pub const fn organization_id(self) -> Option<&'a str> {
        match self {
            Self::Log => None,
            Self::History(id) => Some(id),
        }
    }
}

/// The places up to `upto` that have no event, as ranges: the first `limit` of them.
pub async fn gaps(
    executor: impl PgExecutor<'_>,
    place: Place<'_>,
    upto: i64,
    limit: i64,
) -> Result<Vec<(i64, i64)>, ReadError> {
    let column = place.column();
    let query = format!(
        "select previous + 1, place - 1
         from (select place, lag(place, 1, 0::bigint) over (order by place) as previous
               from (select {column} as place from events where ($3::text is null or organization_id = $3) and {column} <= $1
                     union all
                     select $1 + 1) as places) as neighbours
         where place > previous + 1
         order by place
         limit $2"
    );
    let gaps = sqlx::query_as(&query).bind(upto).bind(limit).bind(place.organization_id());
    Ok(gaps.fetch_all(executor).await?)
}
