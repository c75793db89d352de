//! The writes of a caller that are not in the log. The log decides whether a key may still act when it writes; these writes ask for
//! that before they are committed.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use identity_domain::Moment;
use identity_log::idempotency::{begin_outside, forget_begun, keep_outside};
use identity_log::primary;
use identity_projections::api_keys;
use identity_projections::api_keys::Row as KeyRow;
use sqlx::{PgConnection, PgExecutor, Postgres, Transaction};
use tracing::Instrument as _;

use super::{App, Caller};
use crate::error::ApiError;
use crate::idempotency::Idempotency;
use crate::limits::{Size, Taken};
use crate::reply::Answer;

/// A write that is not in the log, in a transaction.
#[derive(Debug)]
pub(crate) struct WriteOutsideLog<'a> {
    caller: &'a Caller,
    transaction: Transaction<'static, Postgres>,
}

/// What was taken from the bulk budgets for a write outside the log. When this is dropped, the size of what was written takes the
/// place of what was taken.
#[derive(Debug)]
pub(crate) struct Charge {
    app: App,
    key: Arc<KeyRow>,
    taken: Taken,
    written: u64,
}

impl Charge {
    /// Adds the size of what was written.
    pub(crate) const fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.app.0.limits.bulk.settle(&self.key, self.taken, self.written);
    }
}

impl Caller {
    /// Begins a write that is not in the log. From then on a timeout is answered with `outcome_unknown`.
    pub(crate) async fn begin_outside_log(&self) -> Result<WriteOutsideLog<'_>, ApiError> {
        self.refuse_reused_key()?;
        self.enter_outside_log(|| self.app.0.limits.change(&self.key))?;
        self.transaction_outside_log().await
    }

    /// Begins a write outside the log that deletes something. It counts against no quota of a day.
    pub(crate) async fn begin_deletion_outside_log(&self) -> Result<WriteOutsideLog<'_>, ApiError> {
        self.refuse_reused_key()?;
        self.enter_outside_log(|| Ok(()))?;
        self.transaction_outside_log().await
    }

    /// Begins what cannot be taken back, such as a request to somebody else, and comes before the transaction. Refuses a key that
    /// may not act any more, but not a request whose idempotency key was used for another one. Waits first until the bulk budgets of
    /// the caller let a write of `bytes` in. What follows takes long, and needs no connection to the database.
    pub(crate) async fn begin_irrevocably(&self, bytes: usize) -> Result<Charge, ApiError> {
        self.give_back_turn().await;
        let charge = self.charge(bytes as u64).await?;
        self.enter_outside_log(|| self.app.0.limits.change(&self.key))?;
        self.must_still_act(self.pool().await).await?;
        self.give_back_turn().await;
        Ok(charge)
    }

    async fn charge(&self, bytes: u64) -> Result<Charge, ApiError> {
        // What is stored, and the answer, which has it as a text in JSON.
        let copies = if self.idempotency.is_some() { 3 } else { 1 };
        let taken = self.app.0.limits.bulk.admit(&self.key, Size::Known(copies * bytes)).await;
        let taken = taken.map_err(ApiError::bulk_budget_used_up)?;
        Ok(Charge { app: self.app.clone(), key: Arc::clone(&self.key), taken, written: 0 })
    }

    /// Carries out what cannot be taken back in a task of its own, so that it is finished even if the client hangs up or the request
    /// takes too long, but for a database that falls silent. Until then the task keeps the caller, and with it the mark that the
    /// `Idempotency-Key` is in flight, and a handle of the log, without which the service does not stop.
    pub(crate) async fn carry_through<T, Work>(self, work: impl FnOnce(Self) -> Work) -> Result<T, ApiError>
    where
        T: Send + 'static,
        Work: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        self.give_back_turn().await;
        let caller = Self { database: self.database.with_own_turn(), ..self };
        let (primary, work) = (caller.primary().clone(), work(caller));
        let done = async move { primary.unless_silent(work).await };
        match tokio::spawn(done.in_current_span()).await {
            Ok(Ok(done)) => done,
            Ok(Err(silent)) => Err(ApiError::outcome_unknown(&silent)),
            Err(failure) => match failure.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(cancelled) => Err(ApiError::outcome_unknown(&cancelled)),
            },
        }
    }

    /// Stores that this request begins something that cannot be taken back, so that no other process begins it, too. Does nothing if
    /// the request has no `Idempotency-Key`. Fails if another process has begun the request, or has carried it out.
    pub(crate) async fn note_begun(&self) -> Result<(), ApiError> {
        let Some(Idempotency { key, fingerprint, .. }) = &self.idempotency else { return Ok(()) };
        let scope = self.actor().idempotency_scope();
        let request = (key.as_str(), fingerprint.as_slice());
        let begun = begin_outside(self.pool().await, self.organization_id(), &scope, request).await?;
        begun.then_some(()).ok_or_else(ApiError::repetition)
    }

    /// Deletes what `note_begun` has stored. The request was not carried out, so the client may send it again.
    pub(crate) async fn forget_begun(&self) -> Result<(), ApiError> {
        let Some(Idempotency { key, fingerprint, .. }) = &self.idempotency else { return Ok(()) };
        let scope = self.actor().idempotency_scope();
        let request = (key.as_str(), fingerprint.as_slice());
        Ok(forget_begun(self.pool().await, self.organization_id(), &scope, request).await?)
    }

    /// Begins the transaction in which the answer to what cannot be taken back is stored.
    pub(crate) async fn transaction_outside_log(&self) -> Result<WriteOutsideLog<'_>, ApiError> {
        Ok(WriteOutsideLog { caller: self, transaction: self.pool().await.begin().await? })
    }

    fn enter_outside_log(&self, count: impl FnOnce() -> Result<(), ApiError>) -> Result<(), ApiError> {
        self.admission.enter()?;
        if self.idempotency.is_some() {
            self.app.0.limits.repeatable(&self.key)?;
        }
        count()?;
        self.fate.send();
        Ok(())
    }

    /// Refuses a key that was revoked or has expired, or whose identity was deleted, also while the request was answered. In a
    /// transaction it stays as it is until the end.
    async fn must_still_act(&self, executor: impl PgExecutor<'_>) -> Result<(), ApiError> {
        let held = api_keys::hold_active(executor, self.key.id).await?;
        let remaining = held.and_then(|held| self.presented.remaining(&held.row, Moment::from(held.now)));
        remaining.map(drop).ok_or_else(ApiError::unauthorized)
    }
}

impl WriteOutsideLog<'_> {
    /// The connection of the transaction.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Stores the answer for repetitions of the request, if it has an `Idempotency-Key`. Returns whether it has one.
    pub(crate) async fn keep_answer(&mut self, answer: &Answer) -> Result<bool, ApiError> {
        let caller = self.caller;
        let Some(Idempotency { key, fingerprint, .. }) = &caller.idempotency else { return Ok(false) };
        let (organization, scope) = (caller.organization_id(), caller.actor().idempotency_scope());
        let (request, told) =
            ((key.as_str(), fingerprint.as_slice()), (answer.status().as_u16(), answer.body()));
        if keep_outside(&mut *self.transaction, organization, &scope, request, told).await? {
            Ok(true)
        } else {
            Err(ApiError::repetition())
        }
    }

    /// Commits the write if the key may still act. If Postgres does not confirm the commit, the outcome is unknown.
    pub(crate) async fn commit(mut self) -> Result<(), ApiError> {
        self.caller.must_still_act(&mut *self.transaction).await?;
        let began = Instant::now();
        let confirmed = async {
            self.transaction.commit().await?;
            if primary::may_be_unconfirmed(began) {
                // A later commit over any connection is confirmed only when this one is.
                primary::commit_nothing(&mut *self.caller.pool().await.acquire().await?).await?;
            }
            Ok(())
        };
        confirmed.await.map_err(|error: sqlx::Error| ApiError::outcome_unknown(&error))
    }
}
