//! From a table that is ready to one that is live, and back.

use std::time::{Duration, Instant};

use identity_log::read;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Acquire as _, ConnectOptions as _, Executor as _, PgConnection};

use super::error::JobError;
use super::generation;
use crate::table::Table;

/// How many events are folded in one transaction while catching up.
const PAGE: i64 = 2_000;

/// With so few events to go the head lock is taken and the rest folded under it.
const NEARLY: usize = 100;

/// How often a swap is tried before the readers of the live table are given up on.
const ATTEMPTS: u32 = 100;

/// Folds what was appended after `position`, page by page, until hardly anything is left.
pub(super) async fn catch_up(
    connection: &mut PgConnection,
    table: &dyn Table,
    mut position: i64,
) -> Result<i64, JobError> {
    loop {
        let mut transaction = connection.begin().await?;
        let events = read::page(&mut *transaction, position, PAGE).await?;
        table.apply(&mut transaction, &events).await?;
        transaction.commit().await?;
        position = events.last().map_or(position, |event| event.position);
        if events.len() <= NEARLY {
            return Ok(position);
        }
    }
}

/// Makes the next generation the live one. Gives the position it stands at, and how long writers waited.
///
/// Autovacuum is sent away before the head lock is taken; readers are waited for briefly under it. If one of them
/// reads on, everything is let go and tried again, so writers never wait for a long read.
pub(super) async fn cut_over(
    connection: &mut PgConnection,
    table: &dyn Table,
    mut position: i64,
) -> Result<(i64, Duration), JobError> {
    for _ in 0..ATTEMPTS {
        position = catch_up(connection, table, position).await?;
        match try_cut_over(connection, table, position).await {
            Err(JobError::Database(sqlx::Error::Database(error)))
                if error.code().as_deref() == Some("55P03") =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            done => return done,
        }
    }
    Err(JobError::Busy)
}

async fn try_cut_over(
    connection: &mut PgConnection,
    table: &dyn Table,
    position: i64,
) -> Result<(i64, Duration), JobError> {
    let name = table.name();
    let mut transaction = connection.begin().await?;
    let exclude_maintenance = format!(
        "lock table read_model.{name}, read_model_next.{name} in share update exclusive mode;
         set local lock_timeout = '100ms';"
    );
    transaction.execute(exclude_maintenance.as_str()).await?;
    let started = Instant::now();
    let head: i64 =
        sqlx::query_scalar("select position from log_head for update").fetch_one(&mut *transaction).await?;
    let events = read::page(&mut *transaction, position, head - position).await?;
    table.apply(&mut transaction, &events).await?;
    let swap = format!(
        "drop table if exists read_model_retired.{name};
         alter table read_model.{name} set schema read_model_retired;
         alter table read_model_next.{name} set schema read_model;"
    );
    transaction.execute(swap.as_str()).await?;
    sqlx::query(
        "update read_models
         set retired_version = version, retired_at = now(), retired_position = $2,
             version = $3, built_at = now(), built_position = $2
         where name = $1",
    )
    .bind(name)
    .bind(head)
    .bind(table.version())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((head, started.elapsed()))
}

/// Makes the retired table the live one again, caught up with the log by the present fold. What was live becomes the
/// retired one, so a rollback can be rolled back.
pub async fn rollback(options: &PgConnectOptions, table: &dyn Table) -> Result<(i64, Duration), JobError> {
    let name = table.name();
    let application = format!("identityd rollback of {name}, process {}", std::process::id());
    let options = options
        .clone()
        .application_name(&application)
        .options([("search_path", "read_model_next,public")])
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    generation::lock(&mut connection, name).await?;
    let retired: Option<(Option<i32>, Option<i64>)> =
        sqlx::query_as("select retired_version, retired_position from read_models where name = $1")
            .bind(name)
            .fetch_optional(&mut connection)
            .await?;
    let Some((Some(version), Some(position))) = retired else {
        return Err(JobError::NothingRetired);
    };
    let bring_back = format!(
        "drop table if exists read_model_next.{name};
         alter table read_model_retired.{name} set schema read_model_next;"
    );
    connection.execute(bring_back.as_str()).await?;
    let done = cut_over(&mut connection, table, position).await?;
    sqlx::query("update read_models set version = $2 where name = $1")
        .bind(name)
        .bind(version)
        .execute(&mut connection)
        .await?;
    Ok(done)
}
