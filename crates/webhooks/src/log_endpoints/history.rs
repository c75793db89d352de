//! The next events of an endpoint, as it is sent them.

use identity_log::ReadError;
use identity_log::history::{History, Query};
use sqlx::PgPool;

use super::claims::Claim;
use crate::queue::payload::{Named, event_id};

/// How many events are read at a time.
const MAX_EVENTS: u32 = 64;

/// An event, ready to be sent.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) sequence: i64,
    pub(super) id: String,
    /// Its envelope, as `GET /api/v1/events` shows it.
    pub(super) envelope: String,
}

/// The next events after the cursor, and whether there are no more up to the end of the history that is known.
pub(super) async fn next(pool: &PgPool, claim: &Claim) -> Result<(Vec<Event>, bool), ReadError> {
    let query = Query {
        limit: Some(MAX_EVENTS),
        event_types: claim.event_types.clone(),
        ..Query::range(&claim.organization_id, claim.sequence, claim.head)
    };
    let mut connection = pool.acquire().await?;
    let mut history = History::begin(&mut connection, &query);
    let mut events = vec![];
    while let Some(entry) = history.next().await? {
        let mut envelope = vec![];
        entry.write_envelope(&mut envelope);
        let named = Named {
            organization_id: entry.organization_id,
            aggregate_id: entry.aggregate_id,
            sequence: entry.sequence,
            recorded_at: entry.recorded_at,
        };
        events.push(Event {
            sequence: entry.organization_sequence,
            id: event_id(&named),
            envelope: String::from_utf8_lossy(&envelope).into_owned(),
        });
    }
    let is_all = events.len() < usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX);
    Ok((events, is_all))
}
