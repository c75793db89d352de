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

/// Gives the lock back.
pub(super) async fn unlock(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_unlock(hashtext('identityd read model'), hashtext($1))")
        .bind(name)
        .execute(connection)
        .await
        .map(drop)
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
    give_up(connection, name).await?;
    let statement =
        format!("create table read_model_next.{name} (like read_model.{name} including defaults)");
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// Drops the next generation, ready or not.
pub(super) async fn give_up(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let statement = format!(
        "drop table if exists read_model_next.{name};
         update read_models set next_version = null, next_position = null where name = '{name}';"
    );
    connection.execute(statement.as_str()).await.map(drop)
}

/// Drops what a swap has put aside. Not in the transaction of a swap: removing the files of a large table takes long.
pub(super) async fn discard(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let statement = format!("drop table if exists read_model_discarded.{name}");
    connection.execute(statement.as_str()).await.map(drop)
}

/// The same, unless somebody is at that table and stays there.
pub(super) async fn discard_soon(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    connection.execute("set lock_timeout = '3s'").await?;
    discard(connection, name).await
}

/// Adds every index that the live table has, those of its keys included. Others may read the table meanwhile.
pub(super) async fn add_indexes(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    for statement in indexes(connection, name).await? {
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Adds every constraint that the live table has, keys from their indexes, for which nobody else may be at the table.
pub(super) async fn add_constraints(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    for statement in constraints(connection, name).await? {
        connection.execute(statement.as_str()).await?;
    }
    connection.execute(format!("analyze read_model_next.{name}").as_str()).await?;
    Ok(())
}

async fn indexes(connection: &mut PgConnection, name: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select replace(pg_get_indexdef(indexrelid), ' ON read_model.', ' ON read_model_next.')
         from pg_index
         where indrelid = ('read_model.' || $1)::regclass
         order by indexrelid::regclass::text",
    )
    .bind(name)
    .fetch_all(connection)
    .await
}

/// Without those that say that a column is not null: the table is made with them, and newer servers list them, too.
async fn constraints(connection: &mut PgConnection, name: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select format('alter table read_model_next.%I add constraint %I %s', $1, conname,
                       case contype
                           when 'p' then format('primary key using index %I', conname)
                           when 'u' then format('unique using index %I', conname)
                           else pg_get_constraintdef(oid)
                       end)
         from pg_constraint
         where conrelid = ('read_model.' || $1)::regclass
           and contype <> 'n'
         order by conname",
    )
    .bind(name)
    .fetch_all(connection)
    .await
}
