//! Counts the events that a scan must read, so that an incomplete scan is noticed, and finds the places where events are missing.

use std::collections::BTreeMap;

use identity_domain::Kind;
use sqlx::{PgConnection, PgExecutor};

use super::scan::{self, Selection};
use crate::error::ReadError;

/// How many events of each type there are up to a position. A scan of all ranges must read as many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts {
    position: i64,
    /// By aggregate type, and by event type.
    counts: BTreeMap<String, BTreeMap<String, Count>>,
}

/// How many events of a type there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    events: u64,
    /// The position of the first one.
    first: i64,
}

impl EventCounts {
    /// Counts the event at the position that follows on the last one.
    pub fn add(&mut self, aggregate_type: &str, event_type: &str) {
        self.position += 1;
        let first = self.position;
        let known = self.counts.get_mut(aggregate_type).and_then(|counts| counts.get_mut(event_type));
        match known {
            Some(count) => count.events += 1,
            None => self.add_type((aggregate_type, event_type), Count { events: 1, first }),
        }
    }

    fn add_type(&mut self, (aggregate_type, event_type): (&str, &str), Count { events, first }: Count) {
        let counts = self.counts.entry(aggregate_type.to_owned()).or_default();
        counts.entry(event_type.to_owned()).or_insert(Count { events: 0, first }).events += events;
    }

    /// Counts the events that follow on the last position that was counted, up to another one.
    ///
    /// Fails if an event is missing, which the total count shows since positions have no gaps, and if the aggregate type
    /// of an event is unknown, since no read model would fold that event.
    pub async fn advance(&mut self, connection: &mut PgConnection, upto: i64) -> Result<(), ReadError> {
        if upto > self.position {
            self.count(connection, upto).await?;
        }
        let known = Kind::ALL.map(Kind::as_str);
        let unknown =
            self.counts.iter().filter(|(aggregate_type, _)| !known.contains(&aggregate_type.as_str()));
        match unknown.flat_map(|(_, counts)| counts.values()).map(|count| count.first).min() {
            Some(position) => Err(ReadError::UnknownAggregate { position }),
            None => Ok(()),
        }
    }

    async fn count(&mut self, connection: &mut PgConnection, upto: i64) -> Result<(), ReadError> {
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
        if all != upto - self.position {
            return Err(ReadError::Missing { position: first_missing(connection, upto).await? });
        }
        for (aggregate_type, event_type, events, first) in counted {
            let count = Count { events: u64::try_from(events).unwrap_or_default(), first };
            self.add_type((&aggregate_type, &event_type), count);
        }
        self.position = upto;
        Ok(())
    }

    /// How many of the events are selected.
    pub async fn of(&self, connection: &mut PgConnection, selection: Selection) -> Result<u64, ReadError> {
        if selection.min_events > 1 {
            return of_long_aggregates(connection, selection, self.position).await;
        }
        let selected = self.counts.get(selection.kind.as_str()).into_iter().flatten();
        let selected = selected.filter(|(event_type, _)| {
            selection.event_types.is_none_or(|names| names.contains(&event_type.as_str()))
        });
        Ok(selected.map(|(_, count)| count.events).sum())
    }
}

/// How many of the selected events belong to aggregates with at least `min_events` events.
async fn of_long_aggregates(
    connection: &mut PgConnection,
    selection: Selection,
    upto: i64,
) -> Result<u64, ReadError> {
    let selected = scan::events_of_long_aggregates(selection, upto, "true");
    let query = format!("select count(*) from ({selected}) as selected");
    let count: i64 = sqlx::query_scalar(&query).fetch_one(connection).await?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// The first position without an event.
async fn first_missing(connection: &mut PgConnection, upto: i64) -> Result<i64, ReadError> {
    let gaps = gaps(connection, Numbering::Log, upto, 1).await?;
    Ok(gaps.first().map_or(upto + 1, |(first, _)| *first))
}

/// Where the places of events are counted without gaps.
#[derive(Debug, Clone, Copy)]
pub enum Numbering<'a> {
    /// In the log: `position`.
    Log,
    /// In the history of the organization with this id: `organization_sequence`.
    History(&'a str),
}

impl<'a> Numbering<'a> {
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
    place: Numbering<'_>,
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
