//! The events that are to be signed, and whether this installation wrote them.

use identity_proof::{Hash, SealKey};
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::error::{SignError, TreeError};
use super::memory::Memory;
use super::refusal::Refusal;
use super::tiles::bigint;

/// What the signer needs of an event.
pub(super) struct Unsigned {
    position: i64,
    sequence: u64,
    pub(super) leaf: Hash,
    seal: Option<Vec<u8>>,
}

/// Position, organization sequence, leaf hash, seal.
type EventRow = (i64, i64, Vec<u8>, Option<Vec<u8>>);

/// Which events the signer accepts.
pub(super) enum Accepted<'a> {
    /// Events that are sealed with this key, and events before this position, which older versions wrote without a seal.
    Sealed { key: &'a SealKey, from: i64 },
    /// All: an operator has looked at the log and begins a new epoch with it.
    All,
}

impl Accepted<'_> {
    /// Checks that an event may be signed.
    pub(super) fn check(&self, event: &Unsigned) -> Result<(), Refusal> {
        let Self::Sealed { key, from } = self else { return Ok(()) };
        let is_sealed = || event.seal.as_ref().is_some_and(|seal| key.has_sealed(&event.leaf, seal));
        if event.position < *from || is_sealed() {
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

/// Up to `limit` events of an organization after the sequence `after`.
pub(super) async fn next_events(
    connection: &mut PgConnection,
    organization_id: &str,
    after: u64,
    limit: u64,
) -> Result<Vec<Unsigned>, SignError> {
    let rows: Vec<EventRow> = sqlx::query_as(
        "select position, organization_sequence, leaf_hash, seal
         from events
         where organization_id = $1 and organization_sequence > $2
         order by organization_sequence
         limit $3",
    )
    .bind(organization_id)
    .bind(bigint(after))
    .bind(bigint(limit))
    .fetch_all(connection)
    .await?;
    if rows.is_empty() {
        return Err(Refusal::Gap { sequence: after + 1 }.into());
    }
    (after + 1..).zip(rows).map(|(expected, row)| in_place(expected, row)).collect()
}

fn in_place(expected: u64, (position, found, leaf, seal): EventRow) -> Result<Unsigned, SignError> {
    if found != bigint(expected) {
        return Err(Refusal::Gap { sequence: expected }.into());
    }
    let leaf = Hash(leaf.try_into().map_err(|_| TreeError::Tile)?);
    Ok(Unsigned { position, sequence: expected, leaf, seal })
}
