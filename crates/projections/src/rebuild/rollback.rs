//! The rollback: making the retired table the live one again.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::time::Duration;

use super::connection::Connector;
use super::cutover::{self, Generation};
use super::generation;
use crate::job_error::JobError;
use crate::table::Table;

/// Makes the retired table the live one again. Returns the position, and how long writers waited.
///
/// The fold of this software catches the table up with the log. The live table becomes the retired one, so a rollback
/// can be rolled back. All of it is one transaction: if the rollback is killed, both tables stay where they were.
pub async fn rollback(options: &PgConnectOptions, table: &dyn Table) -> Result<(i64, Duration), JobError> {
    let what = format!("rollback of {}", table.name());
    let mut connection = Connector::new(options, &what, "read_model_next").connect().await?;
    generation::lock(&mut connection, table.name()).await?;
    let done = bring_back(&mut connection, table).await;
    // The transaction is committed or rolled back, so an error here changes nothing.
    drop(connection.close().await);
    done
}

async fn bring_back(connection: &mut PgConnection, table: &dyn Table) -> Result<(i64, Duration), JobError> {
    let name = table.name();
    let retired = retired(connection, name).await?.ok_or(JobError::NothingRetired)?;
    generation::give_up(connection, name).await?;
    let mut transaction = connection.begin().await?;
    let step_forward = generation::moving(name, "read_model_retired", "read_model_next");
    transaction.execute(step_forward.as_str()).await?;
    let attempt = cutover::cut_over(&mut transaction, table, retired).await?;
    transaction.commit().await.map_err(JobError::Doubt)?;
    Ok((attempt.reached.position, attempt.began.elapsed().max(attempt.failed_for)))
}

async fn retired(connection: &mut PgConnection, name: &str) -> Result<Option<Generation>, sqlx::Error> {
    let found: Option<(i32, i64)> = sqlx::query_as(
        "select retired_version, retired_position
         from read_models
         where name = $1
           and retired_version is not null
           and retired_position is not null
           and to_regclass('read_model_retired.' || name) is not null",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(version, position)| Generation { version, position }))
}
