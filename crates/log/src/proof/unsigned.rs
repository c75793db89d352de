//! The events that are to be signed, and whether this installation wrote them as they are.
//!
//! The leaf of an event is computed from its row. The leaf hash that is stored beside it only says what was written: whoever can insert
//! an event can copy leaf hash and seal from another one.

use futures::TryStreamExt as _;
use identity_proof::{Hash, SealKey};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};

use super::error::SignError;
use super::memory::Memory;
use super::refusal::Refusal;
use super::tiles::bigint;
use crate::error::ReadError;
use crate::read::history::Entry;
use crate::read::leaf::leaf_of;

/// How many bytes of payloads and metadata are hashed before other tasks get a turn: about a millisecond's work.
const HASHED_BYTES_AT_A_TIME: usize = 256 * 1024;

/// How many bytes the other columns of an event count for.
const OTHER_BYTES: usize = 1024;

/// What the signer needs of an event.
pub(super) struct Unsigned {
    position: i64,
    /// The position of the event before it in the history, 0 for the first one.
    previous: i64,
    sequence: u64,
    /// The leaf hash, computed from the row.
    pub(super) leaf: Hash,
    /// How many bytes were hashed, about.
    bytes: usize,
    /// Whether it is the one that is stored beside the event.
    is_as_written: bool,
    seal: Option<Vec<u8>>,
}

/// Which events the signer accepts.
pub(super) enum Accepted<'a> {
    /// Events that are sealed with this key, and events before this position, which older versions wrote without a seal.
    Sealed { key: &'a SealKey, from: i64 },
    /// All: an operator has looked at the log and begins a new epoch with it.
    All,
}

impl Accepted<'_> {
    /// Checks that an event may be signed. The leaf does not cover the position, so an event is before the first seal only if its
    /// position is in order: no position before the first seal is free.
    pub(super) fn check(&self, event: &Unsigned) -> Result<(), Refusal> {
        let Self::Sealed { key, from } = self else { return Ok(()) };
        let is_before_seals = (event.previous + 1..*from).contains(&event.position);
        let is_sealed = || event.seal.as_ref().is_some_and(|seal| key.has_sealed(&event.leaf, seal));
        if event.is_as_written && (is_before_seals || is_sealed()) {
            Ok(())
        } else {
            Err(Refusal::Unsealed { sequence: event.sequence })
        }
    }
}

/// Finds the position from which on every event must be sealed, and stores it in the memory, where nobody who can only write to the
/// database can move it. It is the position of the first sealed event; without one, the next position, so that all events of older
/// versions are accepted.
pub(super) async fn find_sealed_from(pool: &PgPool, memory: &Memory) -> Result<i64, SignError> {
    let position = sqlx::query_scalar(
        "select coalesce((select min(position) from events where seal is not null),
                         (select position + 1 from log_head))",
    )
    .fetch_one(pool)
    .await?;
    memory.remember_sealed_from(position).await?;
    Ok(memory.sealed_from().await?.unwrap_or(position))
}

/// The organizations whose logs have events that are not signed.
pub(super) async fn logs_behind(executor: impl PgExecutor<'_>) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select organization_id
         from organization_heads as head
         where sequence is distinct from (
             select size from checkpoints
             where organization_id = head.organization_id
             order by epoch desc, size desc limit 1
         )",
    )
    .fetch_all(executor)
    .await
}

/// SQL: the organizations that have events, as a part `organization (id)` of `with recursive`, with a null at its end. They are found
/// by jumping through an index of `events` from one to the next.
pub const ORGANIZATIONS: &str = "organization (id) as (
         (select organization_id from events order by organization_id limit 1)
         union all
         select (select organization_id from events where organization_id > organization.id
                 order by organization_id limit 1)
         from organization
         where organization.id is not null
     )";

/// The organizations with an event outside of their history: beyond its end, as `organization_heads` has it, or before its beginning;
/// each with the refusal that names the event.
pub async fn outside(executor: impl PgExecutor<'_>) -> Result<Vec<(String, Refusal)>, sqlx::Error> {
    let found: Vec<(String, i64, i64)> = sqlx::query_as(&format!(
        "with recursive {ORGANIZATIONS}
         select id, coalesce(head.sequence, 0), beside
         from organization
         left join organization_heads as head on head.organization_id = id
         cross join lateral (
             (select organization_sequence from events where organization_id = id and organization_sequence < 1
              order by organization_sequence limit 1)
             union all
             (select organization_sequence from events
              where organization_id = id and organization_sequence > coalesce(head.sequence, 0)
              order by organization_sequence desc limit 1)
             limit 1
         ) as events (beside)"
    ))
    .fetch_all(executor)
    .await?;
    let refusal = |head: i64, sequence| Refusal::Outside { sequence, head: u64::try_from(head).unwrap_or(0) };
    Ok(found.into_iter().map(|(id, head, sequence)| (id, refusal(head, sequence))).collect())
}

/// The columns of an [`Entry`] in their order, the seal, and the position of the event `$2`.
const NEXT_EVENTS: &str = "
    select position, organization_sequence, aggregate_type, aggregate_id, sequence, event_type, event_version, recorded_at, payload,
           metadata, leaf_hash, substring(leaf_hash for 6), seal,
           (select position from events where organization_id = $1 and organization_sequence = $2)
    from events
    where organization_id = $1 and organization_sequence > $2
    order by organization_sequence
    limit $3";

/// Reads up to `limit` events of an organization after the sequence `after`, and gives each to `take` before the next one is read: a
/// refusal ends the reading. Fails if there is no event.
pub(super) async fn read_next(
    connection: &mut PgConnection,
    organization_id: &str,
    after: u64,
    limit: u64,
    mut take: impl FnMut(&Unsigned) -> Result<(), Refusal>,
) -> Result<(), SignError> {
    let mut rows = sqlx::query(NEXT_EVENTS)
        .bind(organization_id)
        .bind(bigint(after))
        .bind(bigint(limit))
        .fetch(connection);
    let (mut last, mut hashed): (Option<Unsigned>, usize) = (None, 0);
    while let Some(row) = rows.try_next().await? {
        let expected = last.as_ref().map_or(after, |event| event.sequence) + 1;
        let event = read(organization_id, expected, last.as_ref(), &row)?;
        take(&event)?;
        hashed += event.bytes;
        last = Some(event);
        if hashed >= HASHED_BYTES_AT_A_TIME {
            hashed = 0;
            tokio::task::yield_now().await;
        }
    }
    if last.is_none() {
        return Err(Refusal::Gap { sequence: after + 1 }.into());
    }
    Ok(())
}

/// Reads the event that is expected after `previous`, and computes its leaf hash.
fn read(
    organization_id: &str,
    expected: u64,
    previous: Option<&Unsigned>,
    row: &PgRow,
) -> Result<Unsigned, SignError> {
    if row.try_get::<i64, _>(1)? != bigint(expected) {
        return Err(Refusal::Gap { sequence: expected }.into());
    }
    let unhashable = || SignError::from(Refusal::Unhashable { sequence: expected });
    let entry = Entry::read(organization_id, row).map_err(|error| match error {
        ReadError::Database(error) => error.into(),
        _ => unhashable(),
    })?;
    let leaf = leaf_of(&entry).map_err(|_| unhashable())?;
    let previous = match previous {
        Some(event) => event.position,
        None => row.try_get::<Option<i64>, _>(13)?.unwrap_or(0),
    };
    Ok(Unsigned {
        position: entry.position,
        previous,
        sequence: expected,
        leaf,
        bytes: entry.payload.len() + entry.metadata.len() + OTHER_BYTES,
        is_as_written: entry.leaf_hash == Some(leaf),
        seal: row.try_get(12)?,
    })
}
