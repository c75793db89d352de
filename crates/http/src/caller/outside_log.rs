//! The writes of a caller that are not in the log. The log decides whether a key may still act when it writes; these writes ask for
//! that before they are committed.

use std::time::Instant;

use identity_domain::Moment;
use identity_log::idempotency::keep_outside;
use identity_log::primary;
use identity_projections::api_keys;
use sqlx::{PgConnection, PgExecutor, Postgres, Transaction};

use super::Caller;
use crate::error::ApiError;
use crate::idempotency::Idempotency;
use crate::limits::Size;
use crate::reply::Answer;

/// A write that is not in the log, in a transaction.
#[derive(Debug)]
pub(crate) struct WriteOutsideLog<'a> {
    caller: &'a Caller,
    transaction: Transaction<'static, Postgres>,
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
    /// may not act any more, but not a request whose idempotency key was used for another one. What follows takes long, and needs
    /// no connection to the database. It will store so many bytes, and an answer that is twice as long, if the answer is stored.
    pub(crate) async fn begin_irrevocably(&self, bytes: usize) -> Result<(), ApiError> {
        let copies = if self.idempotency.is_some() { 3 } else { 1 };
        let size = Size::Known(copies * bytes as u64);
        let budgets = &self.app.0.limits.bulk;
        budgets.admit(&self.key, size).await.map_err(ApiError::bulk_budget_used_up)?;
        self.enter_outside_log(|| self.app.0.limits.change(&self.key))?;
        self.must_still_act(self.pool().await).await?;
        self.give_back_turn().await;
        Ok(())
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

    /// Stores the answer for repetitions of the request, if it has an `Idempotency-Key`.
    pub(crate) async fn keep_answer(&mut self, answer: &Answer) -> Result<(), ApiError> {
        let caller = self.caller;
        let Some(Idempotency { key, fingerprint, .. }) = &caller.idempotency else { return Ok(()) };
        let (organization, scope) = (caller.organization_id(), caller.actor().idempotency_scope());
        let (request, told) =
            ((key.as_str(), fingerprint.as_slice()), (answer.status().as_u16(), answer.body()));
        if keep_outside(&mut *self.transaction, organization, &scope, request, told).await? {
            Ok(())
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
