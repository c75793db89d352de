//! The next table of a read model, which only its job uses, and the lock that makes it so.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgConnection};

use crate::columns::Shape;
use crate::job_error::JobError;
use crate::registry;

/// The schemas of read models: live, being built, kept for a rollback, about to be dropped.
pub const SCHEMAS: [&str; 4] =
    ["read_model", "read_model_next", "read_model_retired", "read_model_discarded"];

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
pub(super) async fn begin(connection: &mut PgConnection, shape: &Shape) -> Result<(), JobError> {
    make_missing_schemas(connection).await?;
    give_up(connection, shape.name).await?;
    connection.execute(shape.create().as_str()).await?;
    Ok(())
}

/// Everything in the schemas of read models follows from the log, so a database that was restored without them can be
/// served after a rebuild. Where they are there, nobody needs the right to create them.
async fn make_missing_schemas(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let query = "select name from unnest($1::text[]) as name where to_regnamespace(name) is null";
    let missing: Vec<String> =
        sqlx::query_scalar(query).bind(SCHEMAS.to_vec()).fetch_all(&mut *connection).await?;
    for schema in missing {
        connection.execute(format!("create schema if not exists {schema}").as_str()).await?;
    }
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

/// Adds the indexes, including that of the key. The table can be read meanwhile.
pub(super) async fn add_indexes(connection: &mut PgConnection, shape: &Shape) -> Result<(), JobError> {
    for statement in shape.indexes() {
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Adds the primary key, which uses its index. This needs the table exclusively.
pub(super) async fn add_key(connection: &mut PgConnection, shape: &Shape) -> Result<(), JobError> {
    connection.execute(shape.add_key().as_str()).await?;
    connection.execute(format!("analyze read_model_next.{}", shape.name).as_str()).await?;
    Ok(())
}
