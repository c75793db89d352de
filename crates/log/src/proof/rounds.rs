//! The rounds of the signer: when it signs which logs, and what it tells of those that it does not sign.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::SignError;
use super::memory::MemoryError;
use super::refusal::Refusal;
use super::signer::Signer;
use super::stored::of_row;
use super::unsigned::{logs_behind, outside};
use crate::primary::{Primary, Silent};
use crate::read::follow::Head;

/// The shortest time between two rounds. It limits the number of checkpoints under load.
const MIN_ROUND_INTERVAL: Duration = Duration::from_millis(500);

/// The longest time between two rounds. A log that could not be signed is tried again after it.
const MAX_ROUND_INTERVAL: Duration = Duration::from_secs(2);

/// How often every log is compared with the memory, and refusals are logged again.
const REVIEW_INTERVAL: Duration = Duration::from_mins(1);

/// How many logs are signed at the same time.
const MAX_CONCURRENT_LOGS: usize = 4;

impl Signer {
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

    /// Stores the first entry in the memory if no log was signed yet. A host whose memory has an entry from before the first
    /// checkpoint may sign later, also if another host has signed first. If this fails, it is tried again when the first log is signed.
    pub async fn begin(&self) {
        match self.accepted().await {
            Ok(_) | Err(SignError::Refused(_)) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the memory is not begun yet");
            }
        }
    }

    /// Compares every log with the memory, also a log without new events. The memory learns what other hosts signed,
    /// and a log that has changed is noticed although nobody writes to it. So are events outside of a history.
    pub async fn review(&self) -> Result<(), SignError> {
        let signed: Vec<(String, i64, i64, String)> = sqlx::query_as(
            "select organization_id, epoch, size, note
             from organization_heads as head,
                  lateral (select epoch, size, note from checkpoints
                           where organization_id = head.organization_id
                           order by epoch desc, size desc limit 1) as last",
        )
        .fetch_all(&self.pool)
        .await?;
        if let Some(refusal) = self.refuses_all().await? {
            self.refuse_all(signed.into_iter().map(|(organization_id, ..)| organization_id), &refusal);
            log_refusal("-", &refusal);
            return Ok(());
        }
        for (organization_id, refusal) in self.refused() {
            log_refusal(&organization_id, &refusal);
        }
        for (organization_id, _) in outside(&self.pool).await? {
            self.sign_one(&organization_id).await;
        }
        for (organization_id, epoch, size, note) in signed {
            if self.memory.is_away() {
                return Ok(());
            }
            let recalled = self.memory.recall(&organization_id).await;
            let stored = of_row((epoch, size, note)).ok().map(|signed| signed.place());
            if stored.is_none() || !recalled.is_ok_and(|recalled| recalled.place() == stored) {
                self.sign_one(&organization_id).await;
            }
        }
        Ok(())
    }

    /// Signs every log that has unsigned events, and tries every refused log again. Up to 4 logs are signed at the
    /// same time, since each waits for the disk. A log that cannot be signed does not delay the others.
    pub async fn sign_all(&self) -> Result<(), SignError> {
        let behind = logs_behind(&self.pool).await?;
        let due: HashSet<String> = behind.into_iter().chain(self.refused().into_keys()).collect();
        let refusal = self.refuses_all().await;
        if !matches!(refusal, Ok(None)) {
            self.unsigned.store(due.len(), Ordering::Relaxed);
        }
        if let Some(refusal) = refusal? {
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

    /// Why this host signs no log at all, if that is so. Fails if the memory cannot tell.
    async fn refuses_all(&self) -> Result<Option<Refusal>, SignError> {
        match self.accepted().await {
            Ok(_) => Ok(None),
            Err(SignError::Refused(refusal)) => Ok(Some(refusal)),
            Err(error) => Err(error),
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

    /// Signs one log, and remembers whether it is refused. Returns whether it is signed. A memory that did not answer for the log
    /// before is not asked again in this round: each question takes seconds.
    async fn sign_one(&self, organization_id: &str) -> bool {
        if self.memory.is_away() {
            return false;
        }
        let refusal = match self.sign(organization_id).await {
            Ok(_) => None,
            Err(SignError::Refused(refusal)) => Some(refusal),
            Err(SignError::Memory(MemoryError::Away(_))) => return false,
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
}

/// Logs why a round has failed, unless the memory does not answer: that is logged when it begins (`memory/shared.rs`).
fn log_failed_round(round: &Result<Result<(), SignError>, Silent>) {
    let error: &dyn std::error::Error = match round {
        Ok(Ok(()) | Err(SignError::Memory(MemoryError::Away(_)))) => return,
        Ok(Err(error)) => error,
        Err(silent) => silent,
    };
    tracing::warn!(error, "nothing signed, trying again");
}

fn log_refusal(organization_id: &str, refusal: &Refusal) {
    if *refusal == Refusal::Unremembered {
        tracing::error!(%refusal, "this host signs nothing");
    } else {
        let remedy = refusal.remedy(organization_id);
        tracing::error!(organization_id, %refusal, remedy, "this log is not signed any more");
    }
}
