//! Whether the installation with this signing key wrote a history.

use identity_proof::{Checkpoint, Hash, SigningKey, checkpoint};
use sqlx::PgPool;

use super::error::TreeError;
use super::introductions;
use super::stored::last;

/// Whether there is no event.
pub async fn is_empty(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select not exists (select from events)").fetch_one(pool).await
}

/// How many of the last events are looked at. Somebody who can write to the database may have changed the very last ones.
const LOOKED_AT: i64 = 256;

/// Whether this key sealed one of the last events, or signed the log of the last one, and was not replaced since. Also true if the
/// log is empty, and for a log without seals that was never signed, as older versions wrote it: nothing says whose it is.
pub async fn is_of(pool: &PgPool, key: &SigningKey) -> Result<bool, TreeError> {
    if introductions::is_replaced(pool, key).await? {
        return Ok(false);
    }
    let events: Vec<(String, Vec<u8>, Option<Vec<u8>>)> =
        sqlx::query_as("select organization_id, leaf_hash, seal from events order by position desc limit $1")
            .bind(LOOKED_AT)
            .fetch_all(pool)
            .await?;
    let Some((organization_id, ..)) = events.first() else { return Ok(true) };
    let seal_key = key.seal_key();
    let is_sealed = |(_, leaf, seal): &(String, Vec<u8>, Option<Vec<u8>>)| {
        let leaf = <[u8; 32]>::try_from(leaf.as_slice()).map(Hash);
        leaf.is_ok_and(|leaf| seal.as_ref().is_some_and(|seal| seal_key.has_sealed(&leaf, seal)))
    };
    if events.iter().any(is_sealed) {
        return Ok(true);
    }
    Ok(match last(pool, organization_id).await? {
        Some(signed) => {
            let verifier_key = key.verifier_key(&checkpoint::origin(organization_id, signed.epoch));
            Checkpoint::open(&signed.note, &verifier_key).is_ok()
        }
        None => events.iter().all(|(_, _, seal)| seal.is_none()),
    })
}
