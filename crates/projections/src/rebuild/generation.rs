//! The next generation of a table: alike to the live one, and nobody's but the job's.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgConnection};

use super::error::JobError;
use crate::registry;

/// How long the lock may still be held by a job that is gone: Postgres takes a moment to notice.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes the lock of a read model for as long as the connection lives.
pub(super) async fn lock(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    let begun = Instant::now();
    while !try_lock(connection, name).await? {
        if begun.elapsed() > PATIENCE {
            let holder = registry::holder(connection, name).await?;
            return Err(JobError::Held(holder.unwrap_or_else(|| "another job".to_owned())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn try_lock(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtext('identityd read model'), hashtext($1))")
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Makes the table anew, without keys and indexes: they are cheaper to add at the end. Not logged until then either
/// would be cheaper still, but such a table is empty after a crash of the server, and logging it later writes it twice.
pub(super) async fn begin(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    let statement = format!(
        "drop table if exists read_model_next.{name};
         create table read_model_next.{name} (like read_model.{name} including defaults);"
    );
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// Adds every key and index that the live table has.
pub(super) async fn add_indexes(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    for statement in constraints(connection, name).await?.into_iter().chain(indexes(connection, name).await?)
    {
        connection.execute(statement.as_str()).await?;
    }
    connection.execute(format!("analyze read_model_next.{name}").as_str()).await?;
    Ok(())
}

/// Without those that say that a column is not null: the table is made with them, and newer servers list them, too.
async fn constraints(connection: &mut PgConnection, name: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select format('alter table read_model_next.%I add constraint %I %s', $1, conname, pg_get_constraintdef(oid))
         from pg_constraint
         where conrelid = ('read_model.' || $1)::regclass
           and contype <> 'n'
         order by conname",
    )
    .bind(name)
    .fetch_all(connection)
    .await
}

/// Indexes that no constraint brings with it.
async fn indexes(connection: &mut PgConnection, name: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select replace(pg_get_indexdef(indexrelid), ' ON read_model.', ' ON read_model_next.')
         from pg_index
         where indrelid = ('read_model.' || $1)::regclass
           and not exists (select from pg_constraint where conindid = indexrelid)
         order by indexrelid::regclass::text",
    )
    .bind(name)
    .fetch_all(connection)
    .await
}
