//! The next table of a read model, which only its job uses, and the lock that makes it so.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgConnection};

use crate::job_error::JobError;
use crate::registry;

/// How long a job waits for the lock. Postgres takes a moment to notice that the previous job is gone.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Takes the lock of a read model. The connection keeps it until it is closed.
pub(super) async fn lock(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    let begun = Instant::now();
    while !try_lock(connection, name).await? {
        if begun.elapsed() > MAX_LOCK_WAIT {
            let holder = registry::holder(connection, name).await?;
            return Err(JobError::Held(holder.unwrap_or_else(|| "another job".to_owned())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Releases the lock.
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

/// Creates the next table, without keys and indexes: they are cheaper to add at the end. An unlogged table would be
/// cheaper to fill, but it is empty after a crash of Postgres, and making it logged writes it a second time.
pub(super) async fn begin(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    give_up(connection, name).await?;
    let statement =
        format!("create table read_model_next.{name} (like read_model.{name} including defaults)");
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// Drops the next table, ready or not.
pub(super) async fn give_up(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let statement = format!(
        "drop table if exists read_model_next.{name};
         update read_models set next_version = null, next_position = null where name = '{name}';"
    );
    connection.execute(statement.as_str()).await.map(drop)
}

/// Drops the table that a swap has moved aside. This is not part of the swap: removing the files of a large table
/// takes long.
pub(super) async fn discard(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let statement = format!("drop table if exists read_model_discarded.{name}");
    connection.execute(statement.as_str()).await.map(drop)
}

/// Drops the table that a swap has moved aside, but waits 3 s at most for its readers.
pub(super) async fn discard_soon(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    connection.execute("set lock_timeout = '3s'").await?;
    discard(connection, name).await
}

/// Adds every index that the live table has, including those of its keys. The table can be read meanwhile.
pub(super) async fn add_indexes(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    for statement in indexes(connection, name).await? {
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Adds every constraint that the live table has; keys use their indexes. This needs the table exclusively.
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

/// The constraints of the live table except `not null`: the next table was created with those, and newer servers list
/// them.
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
