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

/// Whether this key sealed the last event, or signed the log of its organization, and was not replaced since. Also true if the
/// log is empty, and for a log without seals that was never signed, as older versions wrote it: nothing says whose it is.
pub async fn is_of(pool: &PgPool, key: &SigningKey) -> Result<bool, TreeError> {
    if introductions::is_replaced(pool, key).await? {
        return Ok(false);
    }
    let event: Option<(String, Vec<u8>, Option<Vec<u8>>)> =
        sqlx::query_as("select organization_id, leaf_hash, seal from events order by position desc limit 1")
            .fetch_optional(pool)
            .await?;
    let Some((organization_id, leaf, seal)) = event else { return Ok(true) };
    let leaf = Hash(leaf.try_into().map_err(|_| TreeError::Tile)?);
    if seal.as_ref().is_some_and(|seal| key.seal_key().has_sealed(&leaf, seal)) {
        return Ok(true);
    }
    Ok(match last(pool, &organization_id).await? {
        Some(signed) => {
            let verifier_key = key.verifier_key(&checkpoint::origin(&organization_id, signed.epoch));
            Checkpoint::open(&signed.note, &verifier_key).is_ok()
        }
        None => seal.is_none(),
    })
}
