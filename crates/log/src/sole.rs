//! Which process may answer from its cache without asking the database for new events.
//!
//! Once one process has answered a write, every other process shows that write. One of two rules is always in force:
//!
//! - `log_head.sole_process` names a process. No other process commits, so the sole process knows of every event before
//!   anybody can see it, and answers from its cache without a question. From the moment a batch is sent, the sole process does
//!   not answer from its cache about the aggregates that the batch changes ([`Observer::sending`](crate::Observer::sending)).
//! - It names none. Every process may commit, and before it answers from its cache it asks the database for new events.
//!
//! A process takes the place while it is free ([`Sole::claim_or_resign`]). One that wants to commit, and finds another one there,
//! recalls it (`take_place`): the sole process gives its place up as soon as it looks at the log. If it does not, because it
//! hangs or has died, its place is taken away from it after [`MAX_TRUST_TIME`] and a margin. It has not looked at the log for
//! that long, so it does not trust its cache any more. (The time in which a whole machine is suspended does not count: see
//! docs/operations.md.)
//!
//! Both rules hold at any moment, since a batch is written only while `log_head` is locked, and only if no other process is
//! the sole one.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, Executor as _, PgConnection, Postgres, Row as _};
use uuid::Uuid;

use crate::write::notifier::CHANNEL;

/// How long a process may trust its cache after it began to look at the log.
pub const MAX_TRUST_TIME: Duration = Duration::from_secs(1);

/// How long a recalled process may keep its place. The margin is for clocks that do not run equally fast.
pub(crate) const MAX_RECALL_TIME: Duration = Duration::from_millis(1200);

/// How often a process that has recalled another one looks whether the place is free.
const RECALL_INTERVAL: Duration = Duration::from_millis(2);

/// How long a process waits before it claims the place after it saw an event of another process, or another process in the place,
/// after a recall, and after an attempt. Each claim makes the next commit of another process wait some milliseconds for a recall.
/// So while two processes both commit more often than once in this time, neither of them claims the place.
const CLAIM_DELAY: Duration = Duration::from_secs(2);

/// The notification that wakes the sole process. It names no position.
pub(crate) const RECALL: &str = "recall";

/// The process that has the place, as `log_head` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub process: Uuid,
    /// The number of its claim.
    pub term: i64,
    /// Whether another process wants to commit.
    pub is_recalled: bool,
}

/// What one process knows of its place.
#[derive(Debug)]
pub struct Sole {
    process: Uuid,
    /// Until when it leaves the place free.
    free_until: Instant,
    /// Whether it has claimed or resigned once. Until then it takes the place of another process, which may have died.
    has_started: bool,
}

impl Sole {
    /// The process with this id, which has looked at nothing yet.
    pub fn new(process: Uuid) -> Self {
        Self { process, free_until: Instant::now(), has_started: false }
    }

    /// Whether this process may answer from its cache without a question.
    pub fn may_answer_alone(&self, holder: Option<Holder>) -> bool {
        holder.is_some_and(|holder| holder.process == self.process && !holder.is_recalled)
    }

    /// Claims the place if it is free, and resigns if this process is recalled, as a look at the log says. A process that resigns
    /// must not answer without a question any more.
    ///
    /// When it starts it takes the place of another process, which may have died.
    pub async fn claim_or_resign(
        &mut self,
        connection: &mut PgConnection,
        holder: Option<Holder>,
    ) -> Result<(), sqlx::Error> {
        let now = Instant::now();
        match holder {
            None if now >= self.free_until => {
                // Where nothing can be written, it is not tried at every look.
                self.free_until = now + CLAIM_DELAY;
                self.claim(connection).await?;
            }
            Some(holder) if holder.process != self.process => {
                self.free_until = now + CLAIM_DELAY;
                if !self.has_started {
                    take_place(connection, holder).await?;
                }
            }
            Some(holder) if holder.is_recalled => self.step_down(connection).await?,
            None | Some(_) => {}
        }
        self.has_started = true;
        Ok(())
    }

    async fn claim(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let claim = "update log_head set sole_process = $1, sole_term = sole_term + 1, sole_recalled = false
                     where sole_process is null";
        self.update(connection, claim).await
    }

    /// Another process has committed something, so the place stays free for a while.
    pub fn saw_events_of_others(&mut self) {
        self.free_until = Instant::now() + CLAIM_DELAY;
    }

    /// Gives the place up, and leaves it free for a while.
    pub async fn step_down(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.free_until = Instant::now() + CLAIM_DELAY;
        self.resign(connection).await
    }

    /// Gives the place up, if this process has it.
    pub async fn resign(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let resign = "update log_head set sole_process = null, sole_recalled = false where sole_process = $1";
        self.update(connection, resign).await
    }

    /// The watch cannot read the log while this runs. So it commits locally (`synchronous_commit = local`) and waits at most 100 ms
    /// for `log_head`. If a failover loses the update, the process claims or resigns again.
    async fn update(&self, connection: &mut PgConnection, update: &str) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        transaction.execute("set local synchronous_commit = local; set local lock_timeout = '100ms'").await?;
        sqlx::query(update).bind(self.process).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

/// The sole process in a row of `log_head`.
pub(crate) fn holder(head: &PgRow) -> Result<Option<Holder>, sqlx::Error> {
    let process: Option<Uuid> = head.try_get("sole_process")?;
    let (term, is_recalled) = (head.try_get("sole_term")?, head.try_get("sole_recalled")?);
    Ok(process.map(|process| Holder { process, term, is_recalled }))
}

/// Recalls another process, and returns when the place is free.
pub(crate) async fn take_place(connection: &mut PgConnection, holder: Holder) -> Result<(), sqlx::Error> {
    let recall = "with recalled as (
                      update log_head set sole_recalled = true
                      where sole_process = $1 and sole_term = $2
                      returning position
                  )
                  select pg_notify($3, $4) from recalled";
    let recall = sqlx::query(recall).bind(holder.process).bind(holder.term).bind(CHANNEL).bind(RECALL);
    commit_locally(connection, recall).await?;
    let recalled = Instant::now();
    while recalled.elapsed() < MAX_RECALL_TIME {
        let in_place = "select exists (select from log_head where sole_process = $1 and sole_term = $2)";
        let is_in_place: bool = sqlx::query_scalar(in_place)
            .bind(holder.process)
            .bind(holder.term)
            .fetch_one(&mut *connection)
            .await?;
        if !is_in_place {
            return Ok(());
        }
        tokio::time::sleep(RECALL_INTERVAL).await;
    }
    tracing::warn!(process = %holder.process, "the sole process did not answer its recall within 1.2 s: its place is taken away");
    let take = "update log_head set sole_process = null, sole_recalled = false
                where sole_process = $1 and sole_term = $2";
    commit_locally(connection, sqlx::query(take).bind(holder.process).bind(holder.term)).await
}

/// Carries out a change in a transaction that does not wait for a standby, since a process that waits for the place must not wait for a
/// standby, too. If a failover loses the change, the next process that waits makes it again.
async fn commit_locally(
    connection: &mut PgConnection,
    change: Query<'_, Postgres, PgArguments>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    transaction.execute("set local synchronous_commit = local").await?;
    change.execute(&mut *transaction).await?;
    transaction.commit().await
}
