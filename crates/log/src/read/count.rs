//! Counts the events that a scan must read, so that an incomplete scan is noticed.

use std::collections::BTreeMap;

use identity_domain::Kind;
use sqlx::PgConnection;

use super::scan::Selection;
use crate::error::ReadError;

/// How many events of each type there are up to a position. A scan of all ranges must read as many.
#[derive(Debug, Clone, Default)]
pub struct EventCounts {
    position: i64,
    /// By aggregate type and event type.
    counts: BTreeMap<(String, String), u64>,
}

impl EventCounts {
    /// Counts the events that follow on the last position that was counted, up to another one.
    ///
    /// Fails if an event is missing, which the total count shows since positions have no gaps, and if the aggregate type
    /// of an event is unknown, since no read model would fold that event.
    pub async fn advance(&mut self, connection: &mut PgConnection, upto: i64) -> Result<(), ReadError> {
        let counted: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "select aggregate_type, event_type, count(*), min(position)
             from events
             where position > $1 and position <= $2
             group by aggregate_type, event_type",
        )
        .bind(self.position)
        .bind(upto)
        .fetch_all(&mut *connection)
        .await?;
        let all: i64 = counted.iter().map(|(.., count, _)| count).sum();
        if all != (upto - self.position).max(0) {
            return Err(ReadError::Missing { position: first_missing(connection).await? });
        }
        let known = Kind::ALL.map(Kind::as_str);
        let unknown = counted.iter().filter(|(aggregate_type, ..)| !known.contains(&aggregate_type.as_str()));
        if let Some(position) = unknown.map(|(.., first)| *first).min() {
            return Err(ReadError::UnknownAggregate { position });
        }
        for (aggregate_type, event_type, count, _) in counted {
            *self.counts.entry((aggregate_type, event_type)).or_default() +=
                u64::try_from(count).unwrap_or_default();
        }
        self.position = self.position.max(upto);
        Ok(())
    }

    /// How many of the events are selected.
    pub fn of(&self, selection: Selection) -> u64 {
        let selected = self.counts.iter().filter(|((aggregate_type, event_type), _)| {
            aggregate_type == selection.kind.as_str()
                && selection.event_types.is_none_or(|names| names.contains(&event_type.as_str()))
        });
        selected.map(|(_, count)| count).sum()
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
