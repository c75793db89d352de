//! Grows the trees and signs them. `rounds` says when.
//!
//! A checkpoint promises that every later history begins with this one. Before the signer signs a log, it compares
//! the log with the last checkpoint in the database and in [`Memory`]. A log that has become shorter, or different,
//! is refused until an operator begins a new epoch. So is a log with an event that has no seal of this signing key. A host
//! without any memory signs nothing that others have signed before, until an operator tells it to trust the database.
//! Signers of several processes take a lock for each organization. While the memory does not answer, nothing is signed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use identity_proof::{Checkpoint, SealKey, SigningKey, checkpoint};
use sqlx::{PgConnection, PgPool};

use super::error::SignError;
use super::introductions;
use super::memory::{Memory, MemoryError, Revision};
use super::refusal::Refusal;
use super::signed::Signed;
use super::signed_before::{SignedBefore, lock, refuse_forgetful};
use super::stored::last;
use super::tiles::{Growing, bigint};
use super::unsigned::{Accepted, find_sealed_from, read_next};

/// How many leaves are read at a time. When a log is refused, Postgres has begun to send the rest of them, which may be large.
pub(super) const LEAVES_PER_READ: u64 = 512;

/// The organizations whose logs are refused, with the reason.
pub type Refusals = Arc<RwLock<HashMap<String, Refusal>>>;

/// Signs the logs of all organizations.
#[derive(Debug, Clone)]
pub struct Signer {
    pub(super) pool: PgPool,
    pub(super) key: SigningKey,
    seal_key: SealKey,
    pub(super) memory: Memory,
    /// Whether a signer without a memory takes the checkpoints in the database for the last ones.
    trusts_checkpoints: bool,
    pub(super) refusals: Refusals,
    /// How many logs had events in the last round that could not be signed.
    pub(super) unsigned: Arc<AtomicUsize>,
}

impl Signer {
    /// A signer over a migrated database.
    pub fn new(pool: PgPool, key: SigningKey, memory: Memory) -> Self {
        let seal_key = key.seal_key();
        let (refusals, unsigned) = Default::default();
        Self { pool, key, seal_key, memory, trusts_checkpoints: false, refusals, unsigned }
    }

    /// The same; if the memory is empty, it takes the checkpoints in the database for the last ones. A host whose
    /// data directory does not outlive it has to: it cannot find out that they are not.
    #[must_use]
    pub fn trusting_checkpoints(self, trusts_checkpoints: bool) -> Self {
        Self { trusts_checkpoints, ..self }
    }

    /// The signing key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Why the log of this organization is refused, if it is.
    pub fn refusal(&self, organization_id: &str) -> Option<Refusal> {
        let refusals = self.refusals.read().unwrap_or_else(PoisonError::into_inner);
        refusals.get(organization_id).cloned()
    }

    /// How many logs are refused, and how many could not be signed to their end in the last round.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.refusals.read().unwrap_or_else(PoisonError::into_inner).len(),
            self.unsigned.load(Ordering::Relaxed),
        )
    }

    /// Whether the memory has answered when it was asked last.
    pub fn memory_answers(&self) -> bool {
        !self.memory.is_away()
    }

    /// Whether the memory has any entry. The service stores the first one when it starts, unless logs were signed by then.
    pub async fn has_memory(&self) -> Result<bool, MemoryError> {
        Ok(self.memory.sealed_from().await?.is_some())
    }

    /// The last checkpoint. If the database and the memory do not have the same one, the log is checked and signed
    /// first. Fails if the log is refused.
    ///
    /// While the memory does not answer, this is the last checkpoint in the database. It was in the memory before it came into
    /// the database, so showing it again makes no second history. It may be older than one that was shown before, if the database
    /// has lost events meanwhile.
    pub async fn last(&self, organization_id: &str) -> Result<Option<Signed>, SignError> {
        if let Some(refusal) = self.refusal(organization_id) {
            return Err(refusal.into());
        }
        let stored = last(&self.pool, organization_id).await?;
        if stored.is_some() && self.memory.is_away() {
            return Ok(stored);
        }
        match self.newer_than(stored.as_ref(), organization_id).await {
            Ok(None) | Err(SignError::Memory(MemoryError::Away(_))) if stored.is_some() => Ok(stored),
            newer => newer,
        }
    }

    /// Checks and signs the log, unless the memory has the checkpoint that is in the database. Then the answer is `None`.
    async fn newer_than(
        &self,
        stored: Option<&Signed>,
        organization_id: &str,
    ) -> Result<Option<Signed>, SignError> {
        let recalled = self.memory.recall(organization_id).await?;
        if recalled.place() == stored.map(Signed::place) {
            return Ok(None);
        }
        self.sign(organization_id).await
    }

    /// Which events may be signed. Fails if this host signs nothing: its memory is empty, or does not answer. The memory is asked
    /// each time, since it can be lost while this process runs.
    pub(super) async fn accepted(&self) -> Result<Accepted<'_>, SignError> {
        self.memory.bring_files().await?;
        let stored = self.memory.sealed_from().await?;
        if stored.is_none() && !self.trusts_checkpoints && self.memory.is_empty().await? {
            refuse_forgetful(&self.pool, &self.key).await?;
        }
        let from = match stored {
            Some(position) => position,
            None => find_sealed_from(&self.pool, &self.memory).await?,
        };
        Ok(Accepted::Sealed { key: &self.seal_key, from })
    }

    /// Signs a log up to its last event. Returns its last checkpoint; `None` if it has no events.
    pub async fn sign(&self, organization_id: &str) -> Result<Option<Signed>, SignError> {
        let accepted = self.accepted().await?;
        let mut transaction = self.pool.begin().await?;
        let head = lock(&mut transaction, organization_id).await?;
        let before = SignedBefore::find(&mut transaction, &self.key, &self.memory, organization_id).await?;
        let signed = self.extend(&mut transaction, organization_id, before, head, &accepted).await?;
        transaction.commit().await?;
        Ok(signed)
    }

    /// Begins a new epoch with the present log, whatever was signed before, and signs it.
    pub async fn begin_epoch(&self, organization_id: &str) -> Result<Option<Signed>, SignError> {
        self.begin_epoch_from(organization_id, 1).await
    }

    /// The same with at least this number. After a restore nobody knows which epochs had begun.
    pub async fn begin_epoch_from(
        &self,
        organization_id: &str,
        first: u64,
    ) -> Result<Option<Signed>, SignError> {
        if let Err(error) = self.accepted().await {
            // A key that has signed nothing cannot sign a second history, so an empty memory lacks nothing.
            let SignError::Refused(Refusal::OtherKey) = error else { return Err(error) };
            self.clone().trusting_checkpoints(true).accepted().await?;
        }
        let mut transaction = self.pool.begin().await?;
        let head = lock(&mut transaction, organization_id).await?;
        if introductions::is_replaced(&mut *transaction, &self.key).await? {
            return Err(Refusal::Replaced.into());
        }
        let before =
            SignedBefore::nothing_after(&mut transaction, &self.memory, organization_id, first).await?;
        let epoch = before.epoch;
        let signed = self.extend(&mut transaction, organization_id, before, head, &Accepted::All).await?;
        // The trees of earlier epochs prove nothing about this one.
        sqlx::query("delete from merkle_tiles where organization_id = $1 and epoch < $2")
            .bind(organization_id)
            .bind(bigint(epoch))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(signed)
    }

    /// Checks the log against `before`, appends the unsigned events to the tree, and signs it.
    async fn extend(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
        before: SignedBefore,
        head: u64,
        accepted: &Accepted<'_>,
    ) -> Result<Option<Signed>, SignError> {
        let mut tree = continued(connection, organization_id, &before, head).await?;
        let stored = tree.frontier.size();
        let mut revision = before.revision;
        if let Some(news) = before.news() {
            revision = self.memory.remember(organization_id, news, revision).await?;
        }
        while tree.frontier.size() < head {
            // Not beyond the head: events that were committed after the head was read are not part of this checkpoint.
            let limit = LEAVES_PER_READ.min(head - tree.frontier.size());
            let size = tree.frontier.size();
            read_next(connection, organization_id, size, limit, |event| {
                accepted.check(event)?;
                tree.append(event.leaf);
                before.check_at(tree.frontier.size(), || tree.frontier.root())
            })
            .await?;
            tree.write(connection).await?;
        }
        let signed = match before.stored {
            Some(signed) if stored == head => Some(signed),
            _ if head == 0 => None,
            _ => {
                let origin = checkpoint::origin(organization_id, before.epoch);
                let checkpoint = Checkpoint { origin, size: head, root: tree.frontier.root() };
                let time = self.time_after(before.stored.as_ref());
                let note = self.key.sign_at(&checkpoint, time)?;
                let signed = Signed { epoch: before.epoch, checkpoint, note };
                self.keep(connection, organization_id, &signed, revision).await?;
                Some(signed)
            }
        };
        self.memory.retire_file(organization_id).await?;
        Ok(signed)
    }

    /// Stores a checkpoint, first in the memory and then in the database. If the process dies in between, only the memory
    /// has it, and the same checkpoint is signed again. In the other order only the database would have it, and a restored
    /// backup would lose it.
    async fn keep(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
        signed: &Signed,
        revision: Revision,
    ) -> Result<(), SignError> {
        self.memory.remember(organization_id, signed, revision).await?;
        sqlx::query(
            "insert into checkpoints (organization_id, epoch, size, root, note) values ($1, $2, $3, $4, $5)",
        )
        .bind(organization_id)
        .bind(bigint(signed.epoch))
        .bind(bigint(signed.checkpoint.size))
        .bind(signed.checkpoint.root.0.as_slice())
        .bind(&signed.note)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The stored tree of a log with `head` events. Fails if the log does not continue what was signed before.
pub(super) async fn continued(
    connection: &mut PgConnection,
    organization_id: &str,
    before: &SignedBefore,
    head: u64,
) -> Result<Growing, SignError> {
    if head < before.size() {
        return Err(Refusal::Smaller { signed: before.size(), found: head }.into());
    }
    let tree = before.tree(connection, organization_id).await?;
    before.check(connection, organization_id).await?;
    Ok(tree)
}
