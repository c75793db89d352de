//! The replacement of the signing key. Every log is signed to its end with the old key, its last checkpoint is signed with the new
//! key as well, and the old key introduces the new one.
//!
//! Nothing of this hinders the old key until the note of introduction is stored, which is last: a rotation that was cut off is
//! begun again, or left alone.

use identity_proof::{NoteError, SigningKey};
use sqlx::PgPool;

use super::error::SignError;
use super::signed_before::lock;
use super::signer::Signer;
use super::stored::last;
use super::tiles::bigint;
use super::{introductions, key_lock};

/// Why the key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A service runs, and would go on with the old key.
    #[error("a service is running on this database: stop every process of it first")]
    InUse,
    /// The old key was replaced before.
    #[error("this signing key was replaced before: give the one that replaced it")]
    Replaced,
    /// A log could not be signed to its end.
    #[error("the log of {organization_id} cannot be signed with the old key")]
    Unsigned {
        /// Whose log.
        organization_id: String,
        /// Why.
        #[source]
        cause: SignError,
    },
    /// The introduction could not be written.
    #[error("cannot introduce the new key")]
    Note(#[from] NoteError),
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
}

/// Replaces the key of this signer. Returns how many logs the new key has signed: none if it replaced the old one before.
pub async fn replace_key(pool: &PgPool, signer: &Signer, next: &SigningKey) -> Result<usize, RotationError> {
    // The lock ends with the connection.
    let mut connection = pool.acquire().await?.detach();
    if !key_lock::take_alone(&mut connection).await? {
        return Err(RotationError::InUse);
    }
    if introductions::is_replaced(&mut connection, signer.key()).await? {
        let latest = introductions::latest(&mut connection, signer.key()).await?;
        return if latest == next.introduced_name() { Ok(0) } else { Err(RotationError::Replaced) };
    }
    let organizations: Vec<String> =
        sqlx::query_scalar("select organization_id from organization_heads order by organization_id")
            .fetch_all(&mut connection)
            .await?;
    for organization_id in &organizations {
        let cosigned = signer.cosign(organization_id, next).await;
        let unsigned = |cause| RotationError::Unsigned { organization_id: organization_id.clone(), cause };
        cosigned.map_err(unsigned)?;
    }
    let note = signer.key().introduce(next)?;
    introductions::keep(&mut connection, signer.key(), &note).await?;
    Ok(organizations.len())
}

impl Signer {
    /// Signs a log to its end, and adds the signature of another key to its last checkpoint.
    async fn cosign(&self, organization_id: &str, other: &SigningKey) -> Result<(), SignError> {
        self.sign(organization_id).await?;
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, organization_id).await?;
        let Some(mut signed) = last(&mut *transaction, organization_id).await? else { return Ok(()) };
        signed.note = other.cosign(&signed.note)?;
        self.memory.remember(organization_id, &signed).await?;
        sqlx::query(
            "update checkpoints set note = $4 where organization_id = $1 and epoch = $2 and size = $3",
        )
        .bind(organization_id)
        .bind(bigint(signed.epoch))
        .bind(bigint(signed.checkpoint.size))
        .bind(&signed.note)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
