//! The task that grows the trees and signs them.
//!
//! A checkpoint promises that every later history begins with this one. So before anything is signed it is held against
//! what was signed before, as the database and as [`Memory`] remember it; a log that has become smaller, or another, is
//! refused until an operator begins a new epoch. Signers of several processes take turns, organization by organization.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use identity_proof::{Checkpoint, SigningKey, checkpoint};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::Instant;

use super::known::{Known, lock, next_leaves};
use super::memory::Memory;
use super::refusal::{Refusal, SignError};
use super::{Signed, bigint, last};
use crate::follow::Head;

/// How many leaves are read at a time.
const CHUNK: u64 = 16_384;

/// The shortest time between two rounds: enough for a checkpoint within two seconds, and few enough checkpoints.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest time between two rounds: how soon a log is looked at again that could not be signed.
const IDLE: Duration = Duration::from_secs(2);

/// How often every log is held against what is remembered, and what is wrong said again.
const REVIEW: Duration = Duration::from_mins(1);

/// How many logs are signed at a time.
const BESIDE_EACH_OTHER: usize = 4;

/// Which organizations are refused, and why; shared with whoever answers for it.
pub type Refusals = Arc<RwLock<HashMap<String, Refusal>>>;

/// Signs what is committed.
#[derive(Debug, Clone)]
pub struct Signer {
    pool: PgPool,
    key: SigningKey,
    memory: Memory,
    refusals: Refusals,
}

impl Signer {
    /// A signer over a migrated database.
    pub fn new(pool: PgPool, key: SigningKey, memory: Memory) -> Self {
        Self { pool, key, memory, refusals: Refusals::default() }
    }

    /// The key that it signs with.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Why this organization's log is not signed any more, if so.
    pub fn refusal(&self, organization_id: &str) -> Option<Refusal> {
        let refusals = self.refusals.read().unwrap_or_else(PoisonError::into_inner);
        refusals.get(organization_id).cloned()
    }

    /// The last checkpoint, if the log is still the one that was signed. The database alone cannot tell: what was
    /// signed last is remembered beside the key as well, and where that is another, the log is looked at.
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

    /// Signs soon after every news until it is told to stop, and what is left then.
    pub async fn run(self, mut news: watch::Receiver<Head>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut review_due = Instant::now();
        loop {
            if Instant::now() >= review_due {
                report(self.review().await);
                review_due = Instant::now() + REVIEW;
            }
            report(self.sign_all().await);
            let next = async {
                tokio::time::sleep(PAUSE).await;
                // Whether there is news, or nobody left to bring it: the log itself is asked anyway.
                drop(tokio::time::timeout(IDLE, news.changed()).await);
            };
            tokio::select! {
                () = next => {}
                () = &mut stop => break,
            }
        }
        report(self.sign_all().await);
    }

    /// Holds every log against what is remembered here, also where nothing was added since it was signed: what another
    /// host signed is remembered, and a log that has become another is noticed though nobody writes to it.
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
        for (organization_id, refusal) in self.refused() {
            complain(&organization_id, &refusal);
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

    /// Signs every log that is not signed to its end, those with news first, some beside each other since each waits for
    /// the disk. One that cannot be signed does not keep the others waiting.
    pub async fn sign_all(&self) -> Result<(), sqlx::Error> {
        let behind: Vec<String> = sqlx::query_scalar(
            "select organization_id
             from organization_heads as head
             where sequence is distinct from (
                 select size from checkpoints
                 where organization_id = head.organization_id
                 order by epoch desc, size desc limit 1
             )",
        )
        .fetch_all(&self.pool)
        .await?;
        let refused = self.refused().into_keys();
        let due = stream::iter(behind.into_iter().chain(refused));
        due.for_each_concurrent(BESIDE_EACH_OTHER, async |organization_id| {
            self.sign_one(&organization_id).await;
        })
        .await;
        Ok(())
    }

    /// Those that were refused are looked at again: their operator may have begun a new epoch.
    fn refused(&self) -> HashMap<String, Refusal> {
        self.refusals.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn sign_one(&self, organization_id: &str) {
        let refusal = match self.sign(organization_id).await {
            Ok(_) => None,
            Err(SignError::Refused(refusal)) => Some(refusal),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(organization_id, error, "not signed, trying again");
            }
        };
        let mut refusals = self.refusals.write().unwrap_or_else(PoisonError::into_inner);
        let before = match &refusal {
            Some(refusal) => refusals.insert(organization_id.to_owned(), refusal.clone()),
            None => refusals.remove(organization_id),
        };
        if let Some(refusal) = refusal.filter(|refusal| before.as_ref() != Some(refusal)) {
            complain(organization_id, &refusal);
        }
    }

    /// Signs a log to its end, and gives its last checkpoint; none if there is no event.
    pub async fn sign(&self, organization_id: &str) -> Result<Option<Signed>, SignError> {
        let mut transaction = self.pool.begin().await?;
        let head = lock(&mut transaction, organization_id).await?;
        let known = Known::find(&mut transaction, &self.key, &self.memory, organization_id).await?;
        let signed = self.extend(&mut transaction, organization_id, known, head).await?;
        transaction.commit().await?;
        Ok(signed)
    }

    /// Begins a new history with the log as it stands, whatever was signed before, and signs it.
    pub async fn begin_epoch(&self, organization_id: &str) -> Result<Option<Signed>, SignError> {
        let mut transaction = self.pool.begin().await?;
        let head = lock(&mut transaction, organization_id).await?;
        let known = Known::nothing_after(&mut transaction, &self.memory, organization_id).await?;
        let epoch = known.epoch;
        let signed = self.extend(&mut transaction, organization_id, known, head).await?;
        // The trees of earlier epochs prove nothing about this one.
        sqlx::query("delete from merkle_tiles where organization_id = $1 and epoch < $2")
            .bind(organization_id)
            .bind(bigint(epoch))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(signed)
    }

    async fn extend(
        &self,
        connection: &mut PgConnection,
        organization_id: &str,
        known: Known,
        head: u64,
    ) -> Result<Option<Signed>, SignError> {
        if head < known.size() {
            return Err(Refusal::Smaller { signed: known.size(), found: head }.into());
        }
        let mut tree = known.tree(connection, organization_id).await?;
        let stored = tree.frontier.size();
        known.hold(connection, organization_id).await?;
        if let Some(news) = known.news() {
            self.memory.remember(organization_id, news).await?;
        }
        while tree.frontier.size() < head {
            // Never beyond the head: what was committed since it was read is not what is about to be signed.
            let limit = CHUNK.min(head - tree.frontier.size());
            let leaves = next_leaves(connection, organization_id, tree.frontier.size(), limit).await?;
            for leaf in leaves {
                tree.append(leaf);
                known.hold_at(tree.frontier.size(), || tree.frontier.root())?;
            }
            tree.write(connection).await?;
        }
        match known.stored {
            Some(signed) if stored == head => Ok(Some(signed)),
            _ if head == 0 => Ok(None),
            _ => {
                let origin = checkpoint::origin(organization_id, known.epoch);
                let checkpoint = Checkpoint { origin, size: head, root: tree.frontier.root() };
                let note = self.key.sign(&checkpoint)?;
                let signed = Signed { epoch: known.epoch, checkpoint, note };
                self.keep(connection, organization_id, &signed).await?;
                Ok(Some(signed))
            }
        }
    }

    /// Outside the database first: what is remembered and not stored is signed again just so, but what is stored and
    /// not remembered would be forgotten with the database.
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

fn report(round: Result<(), sqlx::Error>) {
    if let Err(error) = round {
        tracing::warn!(error = &error as &dyn std::error::Error, "nothing signed, trying again");
    }
}

fn complain(organization_id: &str, refusal: &Refusal) {
    tracing::error!(
        organization_id,
        %refusal,
        "this log is not signed any more; find out which history is the right one, then begin a new epoch with \
         `identityd audit new-epoch`"
    );
}
