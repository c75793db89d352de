//! How restored logs go on being signed. Events may have been signed that the backup does not have. If the signer went on in the
//! same epoch, it would sign a second history; so every log begins a new epoch, unless the operator says that nothing was lost.

use identity_log::proof::signer::Signer;
use identity_log::proof::{self, Refusal, SignError};
use sqlx::PgPool;

use super::verify::Organization;

/// The first epoch that may begin after a restore. Without a checkpoint in the backup, a later one may have been signed in epoch 1.
const FIRST_NEW_EPOCH: u64 = 2;

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
    Refused(Refusal),
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
    let epoch = proof::last(pool, id).await?.map_or(0, |signed| signed.epoch);
    if epoch > organization.epoch {
        return Ok(Continuation::New { epoch });
    }
    let refusal = match signer.check(id).await {
        Ok(()) => None,
        Err(SignError::Refused(refusal)) => Some(refusal),
        Err(error) => return Err(error.into()),
    };
    match (refusal, word) {
        (None, Word::NothingLost) => Ok(Continuation::Same),
        // The memory beside the key has events that the backup does not have: they are lost, which was not denied.
        (None | Some(Refusal::Smaller { .. }), Word::PerhapsLost) | (_, Word::OtherKey) => {
            let begun = signer.begin_epoch_from(id, FIRST_NEW_EPOCH).await?;
            Ok(begun.map_or(Continuation::Same, |signed| Continuation::New { epoch: signed.epoch }))
        }
        (Some(refusal), _) => Ok(Continuation::Refused(refusal)),
    }
}
