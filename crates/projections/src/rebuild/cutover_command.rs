//! The cut-over as a command of its own, for a table that a job left ready.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::connection::Connector;
use super::cutover::{self, Generation};
use super::generation;
use crate::job_error::JobError;
use crate::table::Table;

/// Catches a ready table up with the log and makes it the live one. Returns the position, and how long writers waited.
///
/// If `stop` completes before the commit begins, or the process is killed before it, both tables stay where they were.
pub async fn cut_over_until(
    options: &PgConnectOptions,
    table: &dyn Table,
    stop: impl Future<Output = ()>,
) -> Result<(i64, Duration), JobError> {
    let what = format!("cut-over of {}", table.name());
    let mut connection = Connector::new(options, &what, "read_model_next").connect().await?;
    generation::lock(&mut connection, table.name()).await?;
    let next = ready(&mut connection, table).await?.ok_or(JobError::NothingReady)?;
    let swapped = cutover::go_live(&mut connection, table, next, std::pin::pin!(stop)).await?;
    // The swap is committed, so an error here changes nothing.
    drop(connection.close().await);
    Ok((swapped.position, swapped.pause))
}

/// The ready table, if its fold has the version of this software.
async fn ready(connection: &mut PgConnection, table: &dyn Table) -> Result<Option<Generation>, sqlx::Error> {
    let position: Option<i64> = sqlx::query_scalar(
        "select next_position
         from read_models
         where name = $1
           and next_version = $2
           and next_position is not null
           and to_regclass('read_model_next.' || name) is not null",
    )
    .bind(table.name())
    .bind(table.version())
    .fetch_optional(connection)
    .await?;
    Ok(position.map(|position| Generation { version: table.version(), position }))
}
