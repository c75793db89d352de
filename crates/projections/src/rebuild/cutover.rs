//! The cut-over: making a table that is ready the live one.

use std::error::Error;
use std::pin::Pin;
use std::time::{Duration, Instant};

use identity_log::{ReadError, Recorded, read};
use sqlx::error::DatabaseError;
use sqlx::{Acquire as _, Executor as _, PgConnection, Postgres, Transaction};

use super::generation;
use crate::job_error::JobError;
use crate::registry;
use crate::table::Table;

/// How many events are folded in one transaction while a table catches up.
const EVENTS_PER_TRANSACTION: i64 = 2_000;

/// A table has caught up when the last page had at most this many events. The rest is folded under the lock on
/// `log_head`.
const CAUGHT_UP_PAGE: usize = 100;

/// How many events are folded under the lock at most. If there are more, the lock is released and the cut-over tried
/// again.
const MAX_EVENTS_UNDER_LOCK: i64 = 1_000;

/// How often a swap is tried before the job fails because of readers of the live table. That takes about three minutes.
const MAX_ATTEMPTS: u32 = 60;

/// How often a swap is tried before the job fails since a table is missing or was changed by another session.
const MAX_ATTEMPTS_BESIDE_GRANTS: u32 = 5;

/// By how much the delay after a failed attempt grows with each attempt, so that a slow reader does not delay writers
/// again and again.
const RETRY_DELAY_STEP: Duration = Duration::from_millis(100);

/// A table that is to become the live one: the version of its fold, and the position up to which it is folded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generation {
    pub(super) version: i32,
    pub(super) position: i64,
}

/// The position up to which a table has caught up, and the number of its events that were folded on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    pub(super) position: i64,
    pub(super) events: u64,
}

/// The result of a cut-over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swapped {
    /// The position at which the table became the live one.
    pub(super) position: i64,
    /// Events that were folded during the cut-over.
    pub(super) events: u64,
    /// The longest time that writers waited.
    pub(super) pause: Duration,
}

/// Folds the events after `position`, page by page, until a page has at most [`CAUGHT_UP_PAGE`] events.
pub(super) async fn catch_up(
    connection: &mut PgConnection,
    table: &dyn Table,
    position: i64,
) -> Result<Reached, JobError> {
    let mut reached = Reached { position, events: 0 };
    loop {
        let mut transaction = connection.begin().await?;
        let events = read::page(&mut *transaction, reached.position, EVENTS_PER_TRANSACTION).await?;
        apply(&mut transaction, table, &events, &mut reached).await?;
        transaction.commit().await?;
        if events.len() <= CAUGHT_UP_PAGE {
            return Ok(reached);
        }
    }
}

/// Folds a page. Its first event must follow on `reached`, without a gap.
async fn apply(
    connection: &mut PgConnection,
    table: &dyn Table,
    events: &[Recorded],
    reached: &mut Reached,
) -> Result<(), JobError> {
    for event in events {
        reached.position += 1;
        if event.position != reached.position {
            return Err(ReadError::Missing { position: reached.position }.into());
        }
        reached.events += u64::from(table.selection().includes(&event.event));
    }
    Ok(table.apply(connection, events).await?)
}

/// Makes the next table the live one, in one transaction. `stop` interrupts it until the commit begins.
pub(super) async fn go_live(
    connection: &mut PgConnection,
    table: &dyn Table,
    next: Generation,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Swapped, JobError> {
    let (transaction, attempt) = tokio::select! {
        biased;
        () = stop => return Err(JobError::Interrupted),
        begun = begin_to_go_live(connection, table, next) => begun?,
    };
    transaction.commit().await.map_err(JobError::Doubt)?;
    let Attempt { reached, began, failed_for } = attempt;
    let pause = began.elapsed().max(failed_for);
    // The swap is committed. A table that cannot be dropped now is dropped by the next swap.
    if let Err(error) = generation::discard_soon(connection, table.name()).await {
        tracing::warn!(error = &error as &dyn Error, "a table that was put aside is not dropped yet");
    }
    Ok(Swapped { position: reached.position, events: reached.events, pause })
}

async fn begin_to_go_live<'a>(
    connection: &'a mut PgConnection,
    table: &dyn Table,
    next: Generation,
) -> Result<(Transaction<'a, Postgres>, Attempt), JobError> {
    generation::discard(connection, table.name()).await?;
    let mut transaction = connection.begin().await?;
    let attempt = cut_over(&mut transaction, table, next).await?;
    Ok((transaction, attempt))
}

/// A swap that is complete except for the commit.
pub(super) struct Attempt {
    /// How far the table has caught up.
    pub(super) reached: Reached,
    /// When writers began to wait.
    pub(super) began: Instant,
    /// The longest time that writers waited for a failed attempt.
    pub(super) failed_for: Duration,
}

/// Swaps the tables in the caller's transaction. From then on writers wait until the caller commits.
///
/// Before it locks `log_head`, each attempt cancels maintenance (autovacuum), moves the retired table aside, and
/// folds the new events, since each of these may take long. Under the lock it waits 100 ms at most for readers of the
/// tables. If a reader does not finish, or more than 1,000 events are left, the attempt is rolled back, which
/// releases all its locks, and tried again.
pub(super) async fn cut_over(
    connection: &mut PgConnection,
    table: &dyn Table,
    next: Generation,
) -> Result<Attempt, JobError> {
    let mut reached = Reached { position: next.position, events: 0 };
    let mut failed_for = Duration::ZERO;
    for attempt in 1..=MAX_ATTEMPTS {
        let caught_up = catch_up(connection, table, reached.position).await?;
        reached = Reached { events: reached.events + caught_up.events, ..caught_up };
        let mut savepoint = connection.begin().await?;
        let mut began = None;
        match try_once(&mut savepoint, table, next.version, reached, &mut began).await {
            Ok(reached) => {
                savepoint.commit().await?;
                return Ok(Attempt { reached, began: began.unwrap_or_else(Instant::now), failed_for });
            }
            Err(error) if may_be_tried_again(&error, attempt) => savepoint.rollback().await?,
            Err(error) => return Err(error),
        }
        failed_for = failed_for.max(began.map_or(Duration::ZERO, |began| began.elapsed()));
        tokio::time::sleep(RETRY_DELAY_STEP * attempt).await;
    }
    Err(JobError::Busy)
}

/// One attempt to swap the tables. Sets `began` when writers begin to wait.
async fn try_once(
    connection: &mut PgConnection,
    table: &dyn Table,
    version: i32,
    reached: Reached,
    began: &mut Option<Instant>,
) -> Result<Reached, JobError> {
    make_way(connection, table.name()).await?;
    let caught_up = catch_up(connection, table, reached.position).await?;
    let reached = Reached { events: reached.events + caught_up.events, ..caught_up };
    connection.execute(SHORT_TIME_LIMITS).await?;
    *began = Some(Instant::now());
    swap(connection, table, version, reached).await
}

/// Cancels maintenance of the tables, and moves the retired table aside. Writers do not wait for this. Postgres
/// cancels an autovacuum when somebody has waited `deadlock_timeout` (1 s) for its lock, so the limit is 3 s.
async fn make_way(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let is_there = registry::is_there(&mut *connection, name).await?;
    let live = if is_there { format!("read_model.{name}, ") } else { String::new() };
    let put_aside = generation::moving(name, "read_model_retired", "read_model_discarded");
    let statement = format!(
        "set local lock_timeout = '3s';
         lock table {live}read_model_next.{name} in share update exclusive mode;
         {put_aside}"
    );
    connection.execute(statement.as_str()).await.map(drop)
}

/// The time limits under the lock on `log_head`. Postgres ends the connection of a job that is stopped there, which
/// releases the lock.
const SHORT_TIME_LIMITS: &str = "
    set local lock_timeout = '100ms';
    set local statement_timeout = '200ms';
    set local idle_in_transaction_session_timeout = '1s';";

/// Whether the attempt failed because a time limit was reached, because too many events were left, or because the owner granted
/// rights on the tables meanwhile.
fn may_be_tried_again(error: &JobError, attempt: u32) -> bool {
    let (lock_timeout, statement_timeout) = ("55P03", "57014");
    let chain = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let mut errors = chain.filter_map(|error| error.downcast_ref::<sqlx::Error>());
    matches!(error, JobError::Behind)
        || errors.any(|error| {
            let code = error.as_database_error().and_then(DatabaseError::code);
            code.is_some_and(|code| code == lock_timeout || code == statement_timeout)
                || attempt <= MAX_ATTEMPTS_BESIDE_GRANTS && is_of_another_job(error)
        })
}

/// Whether a statement failed since another session has moved a table at the same time, or changed the rights on it:
/// `tuple concurrently updated`, no such table, or a deadlock.
pub fn is_of_another_job(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| ["XX000", "42P01", "40P01"].contains(&code.as_ref()))
}

/// Locks `log_head`, folds the remaining events, and swaps the tables.
async fn swap(
    connection: &mut PgConnection,
    table: &dyn Table,
    version: i32,
    mut reached: Reached,
) -> Result<Reached, JobError> {
    let name = table.name();
    let head: i64 =
        sqlx::query_scalar("select position from log_head for update").fetch_one(&mut *connection).await?;
    if head - reached.position > MAX_EVENTS_UNDER_LOCK {
        return Err(JobError::Behind);
    }
    let events = read::page(&mut *connection, reached.position, head - reached.position).await?;
    apply(connection, table, &events, &mut reached).await?;
    if reached.position != head {
        return Err(ReadError::Missing { position: reached.position + 1 }.into());
    }
    let statements = generation::moving(name, "read_model", "read_model_retired")
        + &generation::moving(name, "read_model_next", "read_model");
    connection.execute(statements.as_str()).await?;
    connection.execute("update log_head set generation = generation + 1").await?;
    sqlx::query(
        "update read_models
         set retired_version = case when to_regclass('read_model_retired.' || name) is null then null else version end,
             retired_at = now(), retired_position = $2,
             version = $3, built_at = now(), built_position = $2, next_version = null, next_position = null,
             verified_at = null, verified_position = null, differences = null,
             job_phase = 'done', job_updated_at = now()
         where name = $1",
    )
    .bind(name)
    .bind(head)
    .bind(version)
    .execute(connection)
    .await?;
    Ok(reached)
}
