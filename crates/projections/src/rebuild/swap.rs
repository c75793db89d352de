//! From a table that is ready to one that is live.

use std::pin::Pin;
use std::time::{Duration, Instant};

use identity_log::{ReadError, Recorded, read};
use sqlx::{Acquire as _, Executor as _, PgConnection};

use super::error::JobError;
use super::generation;
use crate::table::Table;

/// How many events are folded in one transaction while catching up.
const PAGE: i64 = 2_000;

/// With so few events to go the head lock is taken and the rest folded under it.
const NEARLY: usize = 100;

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
    generation::discard(connection, table.name()).await?;
    let mut transaction = connection.begin().await?;
    let attempt = tokio::select! {
        biased;
        () = stop => return Err(JobError::Interrupted),
        attempt = cut_over(&mut transaction, table, next) => attempt?,
    };
    transaction.commit().await.map_err(JobError::Doubt)?;
    let Attempt { reached, began, failed_for } = attempt;
    let pause = began.elapsed().max(failed_for);
    // The swap stands whatever becomes of this; what cannot be dropped now, the next swap drops.
    if let Err(error) = generation::discard(connection, table.name()).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a table that was put aside is not dropped yet"
        );
    }
    Ok(Swapped { position: reached.position, events: reached.events, pause })
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
/// Autovacuum is sent away before the head lock is taken; readers are waited for briefly under it. If one of them
/// reads on, everything is let go and tried again, so writers never wait for a long read.
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
        make_way(&mut savepoint, table.name()).await?;
        let began = Instant::now();
        match swap(&mut savepoint, table, next.version, reached).await {
            Ok(reached) => {
                savepoint.commit().await?;
                return Ok(Attempt { reached, began, failed_for });
            }
            Err(JobError::Database(error)) if is_lock_timeout(&error) => savepoint.rollback().await?,
            Err(error) => return Err(error),
        }
        failed_for = failed_for.max(began.elapsed());
        tokio::time::sleep(REST * attempt).await;
    }
    Err(JobError::Busy)
}

/// Does what can be done before writers have to wait: sends maintenance away and puts aside what was retired before.
async fn make_way(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let statement = format!(
        "lock table read_model.{name}, read_model_next.{name} in share update exclusive mode;
         alter table if exists read_model_retired.{name} set schema read_model_discarded;
         set local lock_timeout = '100ms';"
    );
    connection.execute(statement.as_str()).await.map(drop)
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
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
    sqlx::query(
        "update read_models
         set retired_version = version, retired_at = now(), retired_position = $2,
             version = $3, built_at = now(), built_position = $2, job_phase = 'done', job_updated_at = now()
         where name = $1",
    )
    .bind(name)
    .bind(head)
    .bind(version)
    .execute(connection)
    .await?;
    Ok(reached)
}
