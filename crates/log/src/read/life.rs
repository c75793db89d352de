//! The events of one aggregate, page by page. Unlike a [`History`](super::history::History) of it, a page reads no event before
//! its first one, and few after its last one, however many there are.

use identity_domain::Kind;
use sqlx::PgConnection;

use super::history::Entry;
use crate::error::ReadError;
use crate::event::recorded::Recorded;

/// How many events of the aggregate a page covers at most.
const EVENTS_PER_PAGE: i64 = 512;

/// Some events of one aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life<'a> {
    /// The organization of the aggregate. There are no events if it is another one.
    pub organization_id: &'a str,
    /// The type of the aggregate.
    pub kind: Kind,
    /// The aggregate.
    pub aggregate_id: &'a str,
    /// Only events after this sequence of the aggregate.
    pub after: i64,
    /// Only events up to and including this sequence of the aggregate.
    pub upto: i64,
    /// Only events up to and including this `organization_sequence`.
    pub upto_in_organization: i64,
}

/// The first events of a [`Life`].
#[derive(Debug)]
pub struct Page<'a> {
    /// The events, in order, without their metadata.
    pub events: Vec<Recorded>,
    /// The events that follow; `None` if there are none.
    pub rest: Option<Life<'a>>,
}

// The limit is inside, so that a page reads at most 512 events, even if none of them is before `upto_in_organization`.
const PAGE: &str = "
    select position, organization_sequence, aggregate_type, aggregate_id, sequence, event_type, event_version,
           recorded_at, payload, case when $8 then metadata else '{}' end, null::bytea, substring(leaf_hash for 6)
    from (select *
          from events
          where aggregate_type = $1 and aggregate_id = $2 and sequence > $3 and sequence <= $4
          order by sequence
          limit $5) as page
    where organization_id = $6 and organization_sequence <= $7
    order by sequence";

/// Reads the first page of a life, for folds.
pub async fn page<'a>(connection: &mut PgConnection, life: Life<'a>) -> Result<Page<'a>, ReadError> {
    let mut events = vec![];
    let rest = read(connection, life, false, |entry| {
        events.push(entry.recorded()?);
        Ok::<_, ReadError>(())
    });
    let rest = rest.await?;
    Ok(Page { events, rest })
}

/// Calls `take` with each event of the first page of a life, with its metadata. Returns the events that follow.
pub async fn each<'a, E: From<ReadError>>(
    connection: &mut PgConnection,
    life: Life<'a>,
    take: impl FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<Option<Life<'a>>, E> {
    read(connection, life, true, take).await
}

async fn read<'a, E: From<ReadError>>(
    connection: &mut PgConnection,
    life: Life<'a>,
    metadata: bool,
    mut take: impl FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<Option<Life<'a>>, E> {
    let Life { organization_id, kind, aggregate_id, after, upto, upto_in_organization } = life;
    let rows = sqlx::query(PAGE)
        .bind(kind.as_str())
        .bind(aggregate_id)
        .bind(after)
        .bind(upto)
        .bind(EVENTS_PER_PAGE)
        .bind(organization_id)
        .bind(upto_in_organization)
        .bind(metadata)
        .fetch_all(connection)
        .await
        .map_err(ReadError::from)?;
    let mut last = after;
    for row in &rows {
        let entry = Entry::read(organization_id, row)?;
        last = entry.sequence;
        take(entry)?;
    }
    let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == EVENTS_PER_PAGE);
    Ok(is_full.then_some(Life { after: last, ..life }))
}
