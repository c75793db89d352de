//! The task that grows the trees and signs them.
//!
//! A checkpoint promises that every later history begins with this one. Before the signer signs a log, it compares
//! the log with the last checkpoint in the database and in [`Memory`]. A log that has become shorter, or different,
//! is refused until an operator begins a new epoch. So is a log with an event that has no seal of this signing key. A host
//! without any memory signs nothing that others have signed before, until an operator tells it to trust the database.
//! Signers of several processes take a lock for each organization.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use identity_proof::{Checkpoint, SealKey, SigningKey, checkpoint};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use super::error::SignError;
use super::introductions;
use super::memory::Memory;
use super::refusal::Refusal;
use super::signed::Signed;
use super::signed_before::{SignedBefore, lock, refuse_forgetful};
use super::stored::last;
use super::tiles::{Growing, bigint};
use super::unsigned::{Accepted, logs_behind, next_events, sealed_from};
use crate::primary::{Primary, Silent};
use crate::read::follow::Head;

/// How many leaves are read at a time.
pub(super) const LEAVES_PER_READ: u64 = 16_384;

/// The shortest time between two rounds. It limits the number of checkpoints under load.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(500);

/// The longest time between two rounds. A log that could not be signed is tried again after it.
const MAX_ROUND_INTERVAL: Duration = Duration::from_secs(2);

/// How often every log is compared with the memory, and refusals are logged again.
const REVIEW_INTERVAL: Duration = Duration::from_mins(1);

/// How many logs are signed at the same time.
const MAX_CONCURRENT_LOGS: usize = 4;

/// The organizations whose logs are refused, with the reason.
pub type Refusals = Arc<RwLock<HashMap<String, Refusal>>>;

/// Signs the logs of all organizations.
#[derive(Debug, Clone)]
pub struct Signer {
    pub(super) pool: PgPool,
    pub(super) key: SigningKey,
    seal_key: SealKey,
    /// The position from which on every event must be sealed.
    sealed_from: Arc<OnceCell<i64>>,
    pub(super) memory: Memory,
    /// Whether a host that has signed nothing takes the checkpoints in the database for the last ones.
    trusts_checkpoints: bool,
    refusals: Refusals,
    /// How many logs had events in the last round that could not be signed.
    unsigned: Arc<AtomicUsize>,
}

impl Signer {
    /// A signer over a migrated database.
    pub fn new(pool: PgPool, key: SigningKey, memory: Memory) -> Self {
        let seal_key = key.seal_key();
        let (sealed_from, refusals, unsigned) = Default::default();
        Self { pool, key, seal_key, sealed_from, memory, trusts_checkpoints: false, refusals, unsigned }
    }

    /// The same; if this host has signed nothing yet, it takes the checkpoints in the database for the last ones. A host whose
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
        (self.refused().len(), self.unsigned.load(Ordering::Relaxed))
    }

    /// The last checkpoint. If the database and the memory do not have the same one, the log is checked and signed
    /// first. Fails if the log is refused.
    pub async fn last(&self, organization_id: &str) -> Result<Option<Signed>, SignError> {
        if let Some(refusal) = self.refusal(organization_id) {
            return Err(refusal.into());
        }
        let stored = last(&self.pool, organization_id).await?;
        let recalled = self.memory.recall(organization_id).await?;
        if recalled.as_ref().map(Signed::place) != stored.as_ref().map(Signed::place) {
            return self.sign(organization_id).await;
        }
        Ok(stored)
    }

    /// Signs after new events, until `stop` completes. Then signs once more.
    pub async fn run(
        self,
        mut news: watch::Receiver<Head>,
        primary: Primary,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut review_due = Instant::now();
        self.begin().await;
        loop {
            if Instant::now() >= review_due {
                log_failed_round(&primary.unless_silent(self.review()).await);
                review_due = Instant::now() + REVIEW_INTERVAL;
            }
            log_failed_round(&primary.unless_silent(self.sign_all()).await);
            let next = async {
                tokio::time::sleep(MIN_ROUND_INTERVAL).await;
                primary.answers().await;
                // The result does not matter: each round asks the database which logs are to be signed.
                drop(tokio::time::timeout(MAX_ROUND_INTERVAL, news.changed()).await);
            };
            tokio::select! {
                () = next => {}
                () = &mut stop => break,
            }
        }
        log_failed_round(&primary.unless_silent(self.sign_all()).await);
    }

    /// Creates the memory of this host if no log was signed yet. Hosts that did so before the first checkpoint may sign later,
    /// whichever host signs first. If this fails, it is tried again when the first log is signed.
    pub async fn begin(&self) {
        match self.accepted().await {
            Ok(_) | Err(SignError::Refused(_)) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the memory is not begun yet");
            }
        }
    }

    /// Compares every log with the memory, also a log without new events. The memory learns what other hosts signed,
    /// and a log that has changed is noticed although nobody writes to it.
    pub async fn review(&self) -> Result<(), sqlx::Error> {
        let signed: Vec<(String, i64, i64)> = sqlx::query_as(
            "select organization_id, epoch, size
             from organization_heads as head,
                  lateral (select epoch, size from checkpoints
                           where organization_id = head.organization_id
                           order by epoch desc, size desc limit 1) as last",
        )
        .fetch_all(&self.pool)
        .await?;
        if let Some(refusal) = self.refuses_all().await {
            self.refuse_all(signed.into_iter().map(|(organization_id, ..)| organization_id), &refusal);
            log_refusal("-", &refusal);
            return Ok(());
        }
        for (organization_id, refusal) in self.refused() {
            log_refusal(&organization_id, &refusal);
        }
        for (organization_id, epoch, size) in signed {
            let recalled = self.memory.recall(&organization_id).await;
            let agrees = |recalled: Signed| {
                (bigint(recalled.epoch), bigint(recalled.checkpoint.size)) == (epoch, size)
            };
            if !recalled.is_ok_and(|recalled| recalled.is_some_and(agrees)) {
                self.sign_one(&organization_id).await;
            }
        }
        Ok(())
    }

    /// Signs every log that has unsigned events, and tries every refused log again. Up to 4 logs are signed at the
    /// same time, since each waits for the disk. A log that cannot be signed does not delay the others.
    pub async fn sign_all(&self) -> Result<(), sqlx::Error> {
        let behind = logs_behind(&self.pool).await?;
        let due: HashSet<String> = behind.into_iter().chain(self.refused().into_keys()).collect();
        if let Some(refusal) = self.refuses_all().await {
            self.unsigned.store(due.len(), Ordering::Relaxed);
            self.refuse_all(due, &refusal);
            return Ok(());
        }
        let signed = stream::iter(due)
            .map(async |organization_id| self.sign_one(&organization_id).await)
            .buffer_unordered(MAX_CONCURRENT_LOGS);
        let unsigned = signed.filter(|signed| std::future::ready(!signed)).count().await;
        self.unsigned.store(unsigned, Ordering::Relaxed);
        Ok(())
    }

    /// Why this host signs no log at all, if that is so.
    async fn refuses_all(&self) -> Option<Refusal> {
        match self.accepted().await {
            Err(SignError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    fn refuse_all(&self, logs: impl IntoIterator<Item = String>, refusal: &Refusal) {
        let mut refusals = self.refusals.write().unwrap_or_else(PoisonError::into_inner);
        refusals.extend(logs.into_iter().map(|organization_id| (organization_id, refusal.clone())));
    }

    /// The refused logs. They are tried again, since an operator may have begun a new epoch.
    fn refused(&self) -> HashMap<String, Refusal> {
        self.refusals.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signs one log, and remembers whether it is refused. Returns whether it is signed.
    async fn sign_one(&self, organization_id: &str) -> bool {
        let refusal = match self.sign(organization_id).await {
            Ok(_) => None,
            Err(SignError::Refused(refusal)) => Some(refusal),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(organization_id, error, "not signed, trying again");
                return false;
            }
        };
        let is_refused = refusal.is_some();
        let mut refusals = self.refusals.write().unwrap_or_else(PoisonError::into_inner);
        let before = match &refusal {
            Some(refusal) => refusals.insert(organization_id.to_owned(), refusal.clone()),
            None => refusals.remove(organization_id),
        };
        if let Some(refusal) = refusal.filter(|refusal| before.as_ref() != Some(refusal)) {
            log_refusal(organization_id, &refusal);
        }
        !is_refused
    }

    /// Which events may be signed.
    pub(super) async fn accepted(&self) -> Result<Accepted<'_>, SignError> {
        let from = self.sealed_from.get_or_try_init(async || {
            if !self.trusts_checkpoints && self.memory.is_empty().await? {
                refuse_forgetful(&self.pool, &self.key).await?;
            }
            sealed_from(&self.pool, &self.memory).await
        });
        let from = *from.await?;
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
        self.accepted().await?;
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
        if let Some(news) = before.news() {
            self.memory.remember(organization_id, news).await?;
        }
        while tree.frontier.size() < head {
            // Not beyond the head: events that were committed after the head was read are not part of this checkpoint.
            let limit = LEAVES_PER_READ.min(head - tree.frontier.size());
            let events = next_events(connection, organization_id, tree.frontier.size(), limit).await?;
            for event in events {
                accepted.check(&event)?;
                tree.append(event.leaf);
                before.check_at(tree.frontier.size(), || tree.frontier.root())?;
            }
            tree.write(connection).await?;
        }
        match before.stored {
            Some(signed) if stored == head => Ok(Some(signed)),
            _ if head == 0 => Ok(None),
            _ => {
                let origin = checkpoint::origin(organization_id, before.epoch);
                let checkpoint = Checkpoint { origin, size: head, root: tree.frontier.root() };
                let time = self.time_after(before.stored.as_ref());
                let note = self.key.sign_at(&checkpoint, time)?;
                let signed = Signed { epoch: before.epoch, checkpoint, note };
                self.keep(connection, organization_id, &signed).await?;
                Ok(Some(signed))
            }
        }
    }

    /// Stores a checkpoint, first in the memory and then in the database. If the process dies in between, only the memory
    /// has it, and the same checkpoint is signed again. In the other order only the database would have it, and a restored
    /// backup would lose it.
    async fn keep(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
        signed: &Signed,
    ) -> Result<(), SignError> {
        self.memory.remember(organization_id, signed).await?;
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

fn log_failed_round(round: &Result<Result<(), sqlx::Error>, Silent>) {
    let error: &dyn std::error::Error = match round {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(silent) => silent,
    };
    tracing::warn!(error, "nothing signed, trying again");
}

fn log_refusal(organization_id: &str, refusal: &Refusal) {
    if *refusal == Refusal::Unremembered {
        tracing::error!(%refusal, "this host signs nothing");
    } else {
        tracing::error!(
            organization_id,
            %refusal,
            "this log is not signed any more; find out which history is the right one, then begin a new epoch with \
             `identityd audit new-epoch`"
        );
    }
}
