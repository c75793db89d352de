//! The next events of an endpoint, as it is sent them.

use identity_log::ReadError;
use identity_log::history::{Entry, History, Query};
use sqlx::PgPool;

use super::claims::Claim;
use crate::queue::payload::{Named, event_id};

/// How many events a step sends at most.
const MAX_EVENTS: u32 = 64;

/// After how many bytes of envelopes a step ends.
const MAX_BYTES: usize = 1 << 20;

/// How many events a step looks at to find those of the types that an endpoint wants. It is less than is read in the time of a
/// lease.
const MAX_LOOKED_AT: i64 = 10_000;

/// An event, ready to be sent.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) sequence: i64,
    pub(super) id: String,
    /// Its envelope, as `GET /api/v1/events` shows it.
    pub(super) envelope: String,
}

/// The next events of an endpoint.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) events: Vec<Event>,
    /// The `organization_sequence` up to which there are no others that the endpoint wants.
    pub(super) upto: i64,
}

/// The next events after the cursor that the endpoint wants.
pub(super) async fn next(pool: &PgPool, claim: &Claim) -> Result<Step, ReadError> {
    let upto = claim.head.min(claim.sequence + MAX_LOOKED_AT);
    let query = Query {
        limit: Some(MAX_EVENTS),
        event_types: claim.event_types.clone(),
        ..Query::range(&claim.organization_id, claim.sequence, upto)
    };
    let mut connection = pool.acquire().await?;
    let mut history = History::begin(&mut connection, &query);
    let (mut events, mut bytes) = (vec![], 0);
    while let Some(entry) = history.next().await? {
        let event = event(&entry);
        let sequence = event.sequence;
        bytes += event.envelope.len();
        events.push(event);
        if events.len() >= usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX) || bytes >= MAX_BYTES {
            return Ok(Step { events, upto: sequence });
        }
    }
    Ok(Step { events, upto })
}

fn event(entry: &Entry<'_>) -> Event {
    let mut envelope = vec![];
    entry.write_envelope(&mut envelope);
    let named = Named {
        organization_id: entry.organization_id,
        aggregate_id: entry.aggregate_id,
        sequence: entry.sequence,
        recorded_at: entry.recorded_at,
    };
    Event {
        sequence: entry.organization_sequence,
        id: event_id(&named),
        envelope: String::from_utf8_lossy(&envelope).into_owned(),
    }
}
