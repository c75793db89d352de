//! The replacement of the signing key. Every log is signed to its end with the old key, its last checkpoint is signed with the new
//! key as well, and the old key introduces the new one.
//!
//! The old key stays in use until the introduction is stored. That is the last step, and no process can write during it. An
//! interrupted rotation can be repeated or abandoned.

use identity_proof::{NoteError, SigningKey};
use sqlx::{Connection as _, PgConnection, PgPool};

use super::error::SignError;
use super::signed_before::lock;
use super::signer::Signer;
use super::stored::last;
use super::tiles::bigint;
use super::unsigned::logs_behind;
use super::{introductions, key_lock};

/// How many signature lines a note in the table `checkpoints` may have (migration 0082).
const MAX_SIGNATURE_LINES: usize = 64;

/// Why the key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A service runs, and would go on with the old key.
    #[error("a service is running on this database: stop every process of it first")]
    InUse,
    /// The old key was replaced before.
    #[error("this signing key was replaced before: give the one that replaced it")]
    Replaced,
    /// The next key was replaced before.
    #[error("the next signing key is one that was replaced before: make a new one")]
    NextReplaced,
    /// A log could not be signed to its end.
    #[error("the log of {organization_id} cannot be signed with the old key")]
    Unsigned {
        /// Whose log.
        organization_id: String,
        /// Why.
        #[source]
        cause: SignError,
    },
    /// The last note of a log has as many signature lines as it may have.
    #[error(
        "the last checkpoint of {organization_id} has no room for two more signatures: run `identityd audit new-epoch --org \
         {organization_id}`, then this command again"
    )]
    NoteFull {
        /// Whose log.
        organization_id: String,
    },
    /// The memory could not be handed over to the next key.
    #[error("the memory of the signer cannot be handed over")]
    Memory(#[source] SignError),
    /// The introduction could not be written.
    #[error("cannot introduce the new key")]
    Note(#[from] NoteError),
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
}

/// A replacement of the key under way. Nobody else replaces it, and no service begins, until this is dropped.
#[derive(Debug)]
pub struct Rotation<'a> {
    signer: &'a Signer,
    /// The lock ends with the connection.
    connection: PgConnection,
    is_replaced: bool,
}

impl<'a> Rotation<'a> {
    /// Begins to replace the key of this signer.
    pub async fn begin(pool: &PgPool, signer: &'a Signer) -> Result<Self, RotationError> {
        let mut connection = pool.acquire().await?.detach();
        if !key_lock::lock_exclusively(&mut connection).await? {
            return Err(RotationError::InUse);
        }
        let is_replaced = introductions::is_replaced(&mut connection, signer.key()).await?;
        Ok(Self { signer, connection, is_replaced })
    }

    /// Whether the key was replaced before, by a rotation that may have been cut off afterwards.
    pub fn is_replaced(&self) -> bool {
        self.is_replaced
    }

    /// Replaces the key. Returns the note of introduction, and how many logs the new key has signed: none if it replaced the old
    /// one before.
    pub async fn finish(&mut self, next: &SigningKey) -> Result<(String, usize), RotationError> {
        let key = self.signer.key();
        if introductions::is_replaced(&mut self.connection, next).await? {
            return Err(RotationError::NextReplaced);
        }
        let note = key.introduce(next)?;
        if self.is_replaced {
            let latest = introductions::latest(&mut self.connection, key).await?;
            return if latest == next.introduced_name() {
                Ok((note, 0))
            } else {
                Err(RotationError::Replaced)
            };
        }
        loop {
            let logs = self.cosign_all(next).await?;
            if self.introduce(next, &note).await? {
                return Ok((note, logs));
            }
        }
    }

    async fn cosign_all(&mut self, next: &SigningKey) -> Result<usize, RotationError> {
        let organizations: Vec<String> =
            sqlx::query_scalar("select organization_id from organization_heads order by organization_id")
                .fetch_all(&mut self.connection)
                .await?;
        for organization_id in &organizations {
            let cosigned = self.signer.cosign(organization_id, next).await;
            let unsigned =
                |cause| RotationError::Unsigned { organization_id: organization_id.clone(), cause };
            if !cosigned.map_err(unsigned)? {
                return Err(RotationError::NoteFull { organization_id: organization_id.clone() });
            }
        }
        self.signer.hand_over(next).await.map_err(RotationError::Memory)?;
        Ok(organizations.len())
    }

    /// Stores the introduction, unless an event was written meanwhile that is not signed. After the commit no process writes with
    /// the old key: `LogHead::lock` checks `log_head.sealing_key`, and the new generation invalidates every draft.
    async fn introduce(&mut self, next: &SigningKey, note: &str) -> Result<bool, RotationError> {
        let mut transaction = self.connection.begin().await?;
        sqlx::query("select from log_head for update").execute(&mut *transaction).await?;
        if !logs_behind(&mut *transaction).await?.is_empty() {
            return Ok(false);
        }
        introductions::keep(&mut *transaction, self.signer.key(), note).await?;
        sqlx::query("update log_head set generation = generation + 1, sealing_key = $1")
            .bind(next.introduced_name())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// Names this key as the one that seals, if another one is named. That one is lost: nobody writes with this key otherwise. Fails if a
/// service runs, since this key may be the wrong one.
pub async fn name_in_place_of_lost_key(pool: &PgPool, key: &SigningKey) -> Result<(), RotationError> {
    let query = "select exists (select from log_head where sealing_key <> $1)";
    let is_other: bool = sqlx::query_scalar(query).bind(key.introduced_name()).fetch_one(pool).await?;
    if !is_other {
        return Ok(());
    }
    // The lock ends with the connection.
    let mut connection = pool.acquire().await?.detach();
    if introductions::is_replaced(&mut connection, key).await? {
        return Err(RotationError::Replaced);
    }
    if !key_lock::lock_exclusively(&mut connection).await? {
        return Err(RotationError::InUse);
    }
    sqlx::query("update log_head set generation = generation + 1, sealing_key = $1")
        .bind(key.introduced_name())
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

impl Signer {
    /// Stores the position from which on every event is sealed in the memory of the next key, which then counts as begun.
    async fn hand_over(&self, next: &SigningKey) -> Result<(), SignError> {
        self.accepted().await?;
        if let Some(position) = self.memory.sealed_from().await? {
            self.memory.of_key(next).remember_sealed_from(position).await?;
        }
        Ok(())
    }

    /// Signs a log to its end, and adds the signature of another key to its last checkpoint. The memory of the other key has it
    /// before the database does. Returns false if the checkpoint has no room for the signature.
    async fn cosign(&self, organization_id: &str, other: &SigningKey) -> Result<bool, SignError> {
        self.sign(organization_id).await?;
        let mut transaction = self.pool.begin().await?;
        lock(&mut transaction, organization_id).await?;
        let Some(mut signed) = last(&mut *transaction, organization_id).await? else { return Ok(true) };
        let time = self.time_after(Some(&signed));
        signed.note = other.add_time(&other.cosign(&signed.note)?, time)?;
        if signed.note.lines().filter(|line| line.starts_with("— ")).count() > MAX_SIGNATURE_LINES {
            return Ok(false);
        }
        let memory = self.memory.of_key(other);
        let revision = memory.recall(organization_id).await?.revision;
        memory.remember(organization_id, &signed, revision).await?;
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
        Ok(true)
    }
}
