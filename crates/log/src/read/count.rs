//! Counts the events that a scan must read, so that an incomplete scan is noticed.

use identity_domain::Kind;
use sqlx::PgConnection;

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
        return Err(ReadError::Missing { position: first_missing(connection).await? });
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
async fn first_missing(connection: &mut PgConnection) -> Result<i64, ReadError> {
    let position = sqlx::query_scalar(
        "select coalesce(min(previous) filter (where position <> previous + 1), max(position), 0) + 1
         from (select position, lag(position, 1, 0::bigint) over (order by position) as previous from events)
              as neighbours",
    )
    .fetch_one(connection)
    .await?;
    Ok(position)
}
