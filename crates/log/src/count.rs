//! Counting the log before all of it is read, so that a reading that falls short is found out.

use identity_domain::Kind;
use sqlx::PgConnection;

use crate::error::ReadError;

/// How many events of `kind` there are up to a position: what a scan of all ranges must come to.
///
/// Positions are dense, so an event that is gone shows in the number of all of them; and every event must be of an
/// aggregate that is known, or else nobody folds it.
pub async fn count_events(connection: &mut PgConnection, kind: Kind, upto: i64) -> Result<u64, ReadError> {
    let (of_kind, of_all, stranger): (i64, i64, Option<i64>) = sqlx::query_as(
        "select count(*) filter (where aggregate_type = $1),
                count(*),
                min(position) filter (where aggregate_type <> all ($2))
         from events
         where position <= $3",
    )
    .bind(kind.as_str())
    .bind(Kind::ALL.map(Kind::as_str))
    .bind(upto)
    .fetch_one(&mut *connection)
    .await?;
    if of_all != upto {
        return Err(ReadError::Missing { position: first_missing(connection).await? });
    }
    match stranger {
        Some(position) => Err(ReadError::UnknownAggregate { position }),
        None => Ok(u64::try_from(of_kind).unwrap_or_default()),
    }
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
