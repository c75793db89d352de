//! Reads the log in order and writes what is to be sent to the queue.

use std::collections::HashMap;
use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use identity_log::Log;
use identity_log::follow::Head;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::backlog::{Backlog, WaitingLimits};
use super::erasure::erase;
use super::events::Subscribed;
use super::late::{self, Late};
use super::rows::{Queued, Row, insert, queued};
use super::share::Place;
use super::{QueueError, RETRY_INTERVAL};

/// How many events a step passes at most. Of those, only events that may matter are read.
const MAX_PASSED: i64 = 8192;

/// After how long without news the cursor is compared with the log. Another process may have died while it moved it.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long commits are gathered before the next step.
const GATHERING_TIME: Duration = Duration::from_millis(10);

/// The same after a step that has queued nothing. Where there are no subscribers, a step of eight statements would otherwise follow on
/// every commit for nothing.
const IDLE_GATHERING_TIME: Duration = Duration::from_millis(100);

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
    /// Whether something was queued since commits were last gathered.
    has_queued: bool,
}

impl FanOut {
    pub(crate) fn new(
        pool: PgPool,
        head: watch::Receiver<Head>,
        log: Log,
        wake: Arc<Notify>,
        limits: WaitingLimits,
    ) -> Self {
        let (subscribed, backlog) = (Subscribed::default(), Backlog::new(limits));
        Self { pool, head, log, wake, subscribed, backlog, has_queued: false }
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
            if !self.gather().await || !self.hears_news(head).await {
                return;
            }
        }
    }

    /// Lets commits gather. Returns false if the service stops: the sender of the channel is dropped then.
    async fn gather(&mut self) -> bool {
        let time = if mem::take(&mut self.has_queued) { GATHERING_TIME } else { IDLE_GATHERING_TIME };
        let until = Instant::now() + time;
        while let Ok(changed) = tokio::time::timeout_at(until, self.head.changed()).await {
            if changed.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits for news since the log ended at `head`, but not for longer than a second. Returns false if the service stops.
    async fn hears_news(&mut self, head: i64) -> bool {
        if self.head.borrow().position != head {
            return true;
        }
        !matches!(tokio::time::timeout(MAX_SILENCE, self.head.changed()).await, Ok(Err(_stopped)))
    }

    /// Goes on until the cursor is at the head of the log, which is `head` or behind it, and no organization is late, or another
    /// process has the cursor. Returns where the cursor is, if it is known.
    async fn catch_up(&mut self, mut head: i64) -> Result<i64, QueueError> {
        loop {
            match self.step(head).await? {
                Step::Taken | Step::AtEnd => return Ok(-1),
                Step::At { position, is_any_late: false } if position >= head => return Ok(head),
                Step::At { .. } if self.head.has_changed().is_err() => return Ok(-1),
                // Between two common steps an organization that is late has one of its own.
                Step::At { is_any_late: true, .. } => self.late_step().await?,
                Step::At { .. } => {}
            }
            head = head.max(self.head.borrow().position);
        }
    }

    /// Reads some events, and moves the cursor behind them. An organization for which more is to be queued or deleted than fits
    /// into its share is late from then on.
    async fn step(&mut self, head: i64) -> Result<Step, QueueError> {
        let Some((mut transaction, cursor)) = begin(&self.pool).await? else { return Ok(Step::Taken) };
        let known = late::all(&mut transaction).await?;
        if cursor >= head {
            return Ok(Step::At { position: cursor, is_any_late: !known.is_empty() });
        }
        let upto = head.min(cursor + MAX_PASSED);
        let (mut events, last) = self.subscribed.events(&mut transaction, cursor, upto, &known).await?;
        if last <= cursor {
            return Ok(Step::AtEnd);
        }
        // What is queued below shows nothing that these events hide: it is read after them.
        let unfinished = erase(&mut transaction, &events).await?;
        let mut new = HashMap::new();
        for event in events.iter().filter(|event| unfinished.contains(&*event.organization_id)) {
            new.entry(event.organization_id.clone()).or_insert(Place::before(event));
        }
        events.retain(|event| {
            let organization = &event.organization_id;
            !known.contains(organization) && !new.contains_key(organization)
        });
        new.retain(|organization, _| !known.contains(organization));
        let Queued { rows, late, upto } = queued(&mut transaction, &events, None).await?;
        let position = upto.unwrap_or(last);
        new.extend(late);
        late::begin(&mut transaction, &new).await?;
        insert(&mut transaction, &rows).await?;
        sqlx::query("update webhook_cursor set position = $1")
            .bind(position)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.tell(&rows).await?;
        Ok(Step::At { position, is_any_late: !known.is_empty() || !new.is_empty() })
    }

    /// Queues the next events of one late organization, the one that has waited longest. Does nothing if no organization is late.
    async fn late_step(&mut self) -> Result<(), QueueError> {
        let Some((mut transaction, cursor)) = begin(&self.pool).await? else { return Ok(()) };
        let Some(late) = Late::next(&mut transaction).await? else { return Ok(()) };
        let (events, are_all) = late.events(&mut transaction, cursor).await?;
        let place = late.place();
        if !erase(&mut transaction, &events).await?.is_empty() {
            late.go_on(&mut transaction, place).await?;
            return Ok(transaction.commit().await?);
        }
        let queued = queued(&mut transaction, &events, Some(place)).await?;
        insert(&mut transaction, &queued.rows).await?;
        match (queued.late.get(&late.organization_id), events.last()) {
            (Some(place), _) => late.go_on(&mut transaction, *place).await?,
            (None, Some(last)) if !are_all => late.go_on(&mut transaction, Place::behind(last)).await?,
            (None, _) => late.end(&mut transaction).await?,
        }
        transaction.commit().await?;
        self.tell(&queued.rows).await
    }

    /// Tells of new rows.
    async fn tell(&mut self, rows: &[Row]) -> Result<(), QueueError> {
        if !rows.is_empty() {
            self.has_queued = true;
            self.wake.notify_one();
            self.backlog.check(&self.pool, &self.log, rows).await?;
        }
        Ok(())
    }
}

/// A transaction that has the cursor, and where that is; `None` if another process has it. Fails if there is no cursor.
async fn begin(pool: &PgPool) -> Result<Option<(Transaction<'static, Postgres>, i64)>, QueueError> {
    let mut transaction = pool.begin().await?;
    let cursor: Option<i64> = sqlx::query_scalar(
        "select position
         from webhook_cursor, set_config('synchronous_commit', 'off', true) as fast,
              set_config('idle_in_transaction_session_timeout', $1, true) as idle
         for update of webhook_cursor skip locked",
    )
    .bind(MAX_IDLE)
    .fetch_optional(&mut *transaction)
    .await?;
    if cursor.is_none() {
        let is_there = "select exists (select from webhook_cursor)";
        let is_there: bool = sqlx::query_scalar(is_there).fetch_one(&mut *transaction).await?;
        return if is_there { Ok(None) } else { Err(QueueError::NoCursor) };
    }
    Ok(cursor.map(|cursor| (transaction, cursor)))
}

/// How far a step came.
enum Step {
    /// Another process has the cursor.
    Taken,
    /// The log ends here, before the head that this process was told of: a server that is no longer the primary told of it.
    AtEnd,
    /// The cursor is here.
    At { position: i64, is_any_late: bool },
}
