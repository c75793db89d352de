//! The last step of a rebuild by itself, for a table that was left ready.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::error::JobError;
use super::swap::{self, Generation};
use super::{connection, generation};
use crate::table::Table;

/// Makes a table live that a job left ready, caught up with the log. Given up when `stop` comes to its end before the
/// swap is committed; killed before that, it leaves both tables where they were. Gives the position, and how long writers
/// waited.
pub async fn cut_over_until(
    options: &PgConnectOptions,
    table: &dyn Table,
    stop: impl Future<Output = ()>,
) -> Result<(i64, Duration), JobError> {
    let what = format!("cut-over of {}", table.name());
    let mut connection = connection::options(options, &what, "read_model_next").connect().await?;
    generation::lock(&mut connection, table.name()).await?;
    let next = ready(&mut connection, table).await?.ok_or(JobError::NothingReady)?;
    let swapped = swap::go_live(&mut connection, table, next, std::pin::pin!(stop)).await?;
    // What the lock still guards is over; a connection that breaks now changes nothing.
    drop(connection.close().await);
    Ok((swapped.position, swapped.pause))
}

/// A table of another version than this software's is not ready for it.
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
