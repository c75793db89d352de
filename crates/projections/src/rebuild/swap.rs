//! From a table that is ready to one that is live.

use std::error::Error;
use std::pin::Pin;
use std::time::{Duration, Instant};

use identity_log::{ReadError, Recorded, read};
use sqlx::{Acquire as _, Executor as _, PgConnection, Postgres, Transaction};

use super::error::JobError;
use super::generation;
use crate::table::Table;

/// How many events are folded in one transaction while catching up.
const PAGE: i64 = 2_000;

/// With so few events to go the head lock is taken and the rest folded under it.
const NEARLY: usize = 100;

/// With more events to go than this the head lock is let go again: writers would wait for all of them to be folded.
const TOO_MANY: i64 = 1_000;

/// How often a swap is tried before the readers of the live table are given up on, which takes about three minutes.
const ATTEMPTS: u32 = 60;

/// How much longer the rest after a failed attempt is than the one before, so that writers are not held up again and
/// again by a reader that takes its time.
const REST: Duration = Duration::from_millis(100);

/// A table that is to go live: the version of its fold, and how far it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generation {
    pub(super) version: i32,
    pub(super) position: i64,
}

/// How far a table has been caught up, and how many events of its aggregates that took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reached {
    pub(super) position: i64,
    pub(super) events: u64,
}

/// A table that has gone live.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swapped {
    /// Where.
    pub(super) position: i64,
    /// Events that were folded on the way.
    pub(super) events: u64,
    /// The longest that writers waited.
    pub(super) pause: Duration,
}

/// Folds what was appended after `position`, page by page, until hardly anything is left.
pub(super) async fn catch_up(
    connection: &mut PgConnection,
    table: &dyn Table,
    position: i64,
) -> Result<Reached, JobError> {
    let mut reached = Reached { position, events: 0 };
    loop {
        let mut transaction = connection.begin().await?;
        let events = read::page(&mut *transaction, reached.position, PAGE).await?;
        apply(&mut transaction, table, &events, &mut reached).await?;
        transaction.commit().await?;
        if events.len() <= NEARLY {
            return Ok(reached);
        }
    }
}

/// Folds a page that must follow on what was folded before, without a hole.
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
        reached.events += u64::from(event.event.kind() == table.kind());
    }
    Ok(table.apply(connection, events).await?)
}

/// Makes the next generation the live one, in one transaction that can be given up until it is committed.
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
    // The swap stands whatever becomes of this; what cannot be dropped now, the next swap drops.
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

/// A swap that has succeeded but for the commit.
pub(super) struct Attempt {
    /// How far the table is now.
    pub(super) reached: Reached,
    /// When writers began to wait.
    pub(super) began: Instant,
    /// The longest that writers waited for an attempt that failed.
    pub(super) failed_for: Duration,
}

/// Swaps the tables within the caller's transaction, which holds up writers from then on.
///
/// Whatever may take long is done before the head lock is taken: maintenance is sent away, the table that was retired
/// before is put aside, and what was appended meanwhile is folded. Readers are waited for briefly under the lock. If one
/// of them reads on, or too much was appended, everything is let go and tried again, so writers never wait for long.
pub(super) async fn cut_over(
    connection: &mut PgConnection,
    table: &dyn Table,
    next: Generation,
) -> Result<Attempt, JobError> {
    let mut reached = Reached { position: next.position, events: 0 };
    let mut failed_for = Duration::ZERO;
    for attempt in 1..=ATTEMPTS {
        let caught_up = catch_up(connection, table, reached.position).await?;
        reached = Reached { events: reached.events + caught_up.events, ..caught_up };
        let mut savepoint = connection.begin().await?;
        let mut began = None;
        match try_once(&mut savepoint, table, next.version, reached, &mut began).await {
            Ok(reached) => {
                savepoint.commit().await?;
                return Ok(Attempt { reached, began: began.unwrap_or_else(Instant::now), failed_for });
            }
            Err(error) if may_be_tried_again(&error) => savepoint.rollback().await?,
            Err(error) => return Err(error),
        }
        failed_for = failed_for.max(began.map_or(Duration::ZERO, |began| began.elapsed()));
        tokio::time::sleep(REST * attempt).await;
    }
    Err(JobError::Busy)
}

/// Notes in `began` when writers begin to wait.
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
    connection.execute(BRIEFLY).await?;
    *began = Some(Instant::now());
    swap(connection, table, version, reached).await
}

/// Sends maintenance away, which takes a little longer than Postgres's `deadlock_timeout`, and puts aside what was
/// retired before. Writers do not wait for this.
async fn make_way(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let statement = format!(
        "set local lock_timeout = '3s';
         lock table read_model.{name}, read_model_next.{name} in share update exclusive mode;
         alter table if exists read_model_retired.{name} set schema read_model_discarded;"
    );
    connection.execute(statement.as_str()).await.map(drop)
}

/// Every wait under the head lock has an end. A job that was stopped in the middle loses its connection, and with it the
/// lock.
const BRIEFLY: &str = "
    set local lock_timeout = '100ms';
    set local statement_timeout = '200ms';
    set local idle_in_transaction_session_timeout = '1s';";

/// Somebody held a lock for longer than writers should wait, or too much was appended meanwhile.
fn may_be_tried_again(error: &JobError) -> bool {
    let (lock_timeout, statement_timeout) = ("55P03", "57014");
    let chain = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    let mut codes =
        chain.filter_map(|error| error.downcast_ref::<sqlx::Error>()?.as_database_error()?.code());
    matches!(error, JobError::Behind) || codes.any(|code| code == lock_timeout || code == statement_timeout)
}

/// Takes the head lock, folds what is left, and lets the tables change places.
async fn swap(
    connection: &mut PgConnection,
    table: &dyn Table,
    version: i32,
    mut reached: Reached,
) -> Result<Reached, JobError> {
    let name = table.name();
    let head: i64 =
        sqlx::query_scalar("select position from log_head for update").fetch_one(&mut *connection).await?;
    if head - reached.position > TOO_MANY {
        return Err(JobError::Behind);
    }
    let events = read::page(&mut *connection, reached.position, head - reached.position).await?;
    apply(connection, table, &events, &mut reached).await?;
    if reached.position != head {
        return Err(ReadError::Missing { position: reached.position + 1 }.into());
    }
    let statements = format!(
        "alter table read_model.{name} set schema read_model_retired;
         alter table read_model_next.{name} set schema read_model;"
    );
    connection.execute(statements.as_str()).await?;
    connection.execute("update log_head set generation = generation + 1").await?;
    sqlx::query(
        "update read_models
         set retired_version = version, retired_at = now(), retired_position = $2,
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
