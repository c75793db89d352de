//! How restored logs go on being signed. Events may have been signed that the backup does not have. If the signer went on in the
//! same epoch, it would sign a second history; so every log begins a new epoch, unless the operator says that nothing was lost.

use identity_log::proof::signer::Signer;
use identity_log::proof::{self, Refusal, SignError};
use sqlx::PgPool;

use super::verify::Organization;

/// What the operator says of the service that was backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It may have written events after the backup.
    PerhapsLost,
    /// It has written nothing since, and never will.
    NothingLost,
    /// Its signing key is another one.
    OtherKey,
}

/// How a log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// In the same epoch.
    Same,
    /// In a new epoch.
    New {
        /// Its number.
        epoch: u64,
    },
    /// Not at all, until an operator has looked.
    Refused(String),
}

/// Checks the log of an organization as the signer does, and begins a new epoch unless nothing was lost. An epoch that an earlier
/// attempt began is not begun again.
pub async fn go_on(
    pool: &PgPool,
    signer: &Signer,
    organization: &Organization,
    word: Word,
) -> anyhow::Result<Continuation> {
    let id = &organization.id;
    let last = proof::last(pool, id).await?;
    let (epoch, size) = last.map_or((0, 0), |signed| (signed.epoch, signed.checkpoint.size));
    if epoch > organization.epoch {
        return Ok(Continuation::New { epoch });
    }
    let mut refusal = refusal(signer.check(id).await)?;
    // The memory beside the key has events that the backup does not have: they are lost, which the operator did not deny. The
    // events that are there and were not signed are checked all the same, since the new epoch signs them.
    if word == Word::PerhapsLost && matches!(refusal, Some(Refusal::Smaller { .. })) {
        refusal = self::refusal(signer.check_seals(id, size).await)?;
    }
    match (refusal, word) {
        (None, Word::NothingLost) => Ok(Continuation::Same),
        (None, Word::PerhapsLost) | (_, Word::OtherKey) => {
            let begun = signer.begin_epoch_from(id, seconds_now(pool).await?).await?;
            Ok(begun.map_or(Continuation::Same, |signed| Continuation::New { epoch: signed.epoch }))
        }
        (Some(refusal), _) => Ok(Continuation::Refused(refusal.to_string())),
    }
}

/// The first epoch that may begin after a restore. Two restores of one backup with the same memory beside the key, a drill and
/// a later one, know of the same epochs and not of each other. The clock of the database gives each of them another number.
async fn seconds_now(pool: &PgPool) -> anyhow::Result<u64> {
    let query = "select floor(extract(epoch from clock_timestamp()))::bigint";
    let seconds: i64 = sqlx::query_scalar(query).fetch_one(pool).await?;
    Ok(u64::try_from(seconds)?)
}

/// Why the log is refused, if it is.
fn refusal(checked: Result<(), SignError>) -> Result<Option<Refusal>, SignError> {
    match checked {
        Ok(()) => Ok(None),
        Err(SignError::Refused(refusal)) => Ok(Some(refusal)),
        Err(error) => Err(error),
    }
}
