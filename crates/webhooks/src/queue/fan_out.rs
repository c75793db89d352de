//! Reads the log in order and writes what is to be sent to the queue.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use identity_log::Log;
use identity_log::follow::Head;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, watch};

use super::backlog::{Backlog, WaitingLimits};
use super::erasure::erase;
use super::events::Subscribed;
use super::rows::{insert, queued};
use super::{QueueError, RETRY_INTERVAL};

/// How many events a step passes at most. Of those, only events that may matter are read.
const MAX_PASSED: i64 = 8192;

/// After how long without news the cursor is compared with the log. Another process may have died while it moved it.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long commits are gathered before the next step.
const GATHERING_TIME: Duration = Duration::from_millis(10);

/// After how long between two statements Postgres ends the transaction of a step. A process that is frozen would otherwise lock the
/// cursor for as long as it is.
const MAX_IDLE: &str = "5s";

/// The task that fans out.
#[derive(Debug)]
pub struct FanOut {
    pool: PgPool,
    head: watch::Receiver<Head>,
    log: Log,
    /// Told when there are new rows.
    wake: Arc<Notify>,
    subscribed: Subscribed,
    backlog: Backlog,
}

impl FanOut {
    pub(crate) fn new(
        pool: PgPool,
        head: watch::Receiver<Head>,
        log: Log,
        wake: Arc<Notify>,
        limits: WaitingLimits,
    ) -> Self {
        Self { pool, head, log, wake, subscribed: Subscribed::default(), backlog: Backlog::new(limits) }
    }

    /// Fans out until nobody tells of the log any more.
    pub async fn run(mut self) {
        let mut seen = -1;
        loop {
            let head = self.head.borrow_and_update().position;
            if head != seen {
                match self.catch_up(head).await {
                    Ok(position) => seen = position,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn Error, "cannot queue webhooks, trying again");
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                }
            }
            tokio::time::sleep(GATHERING_TIME).await;
            // The sender of the channel is dropped when the service stops.
            if let Ok(Err(_stopped)) = tokio::time::timeout(MAX_SILENCE, self.head.changed()).await {
                return;
            }
        }
    }

    /// Goes on until the cursor is at `head`, or another process has it. Returns where the cursor is, if it is known.
    async fn catch_up(&mut self, head: i64) -> Result<i64, QueueError> {
        loop {
            match self.step(head).await? {
                Step::Taken | Step::AtEnd => return Ok(-1),
                Step::At(position) if position >= head => return Ok(head),
                Step::At(_) if self.head.has_changed().is_err() => return Ok(-1),
                Step::At(_) => {}
            }
        }
    }

    /// Reads some events, and moves the cursor behind them. If they end so much that not all of it is deleted in this
    /// transaction, the cursor stays, and the next step goes on with the same events.
    async fn step(&mut self, head: i64) -> Result<Step, QueueError> {
        let mut transaction = self.pool.begin().await?;
        let cursor: Option<i64> = sqlx::query_scalar(
            "select position
             from webhook_cursor, set_config('synchronous_commit', 'off', true) as fast,
                  set_config('idle_in_transaction_session_timeout', $1, true) as idle
             for update of webhook_cursor skip locked",
        )
        .bind(MAX_IDLE)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(cursor) = cursor else {
            return if is_there(&mut transaction).await? {
                Ok(Step::Taken)
            } else {
                Err(QueueError::NoCursor)
            };
        };
        if cursor >= head {
            return Ok(Step::At(cursor));
        }
        let upto = head.min(cursor + MAX_PASSED);
        let (events, last) = self.subscribed.events(&mut transaction, cursor, upto).await?;
        if last <= cursor {
            return Ok(Step::AtEnd);
        }
        // What is queued below shows nothing that these events hide: it is read after them.
        if !erase(&mut transaction, &events).await? {
            transaction.commit().await?;
            return Ok(Step::At(cursor));
        }
        let (rows, position) = queued(&mut transaction, &events).await?;
        let position = position.unwrap_or(last);
        insert(&mut transaction, &rows).await?;
        sqlx::query("update webhook_cursor set position = $1")
            .bind(position)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if !rows.is_empty() {
            self.wake.notify_one();
            self.backlog.check(&self.pool, &self.log, &rows).await?;
        }
        Ok(Step::At(position))
    }
}

/// Whether the row of the cursor is there, perhaps locked.
async fn is_there(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from webhook_cursor)").fetch_one(connection).await
}

/// How far a step came.
enum Step {
    /// Another process has the cursor.
    Taken,
    /// The log ends here, before the head that this process was told of: a server that is no longer the primary told of it.
    AtEnd,
    /// The cursor is here.
    At(i64),
}
