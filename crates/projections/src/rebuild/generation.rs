//! The next table of a read model, which only its job uses, and the lock that makes it so.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgConnection};

use crate::job_error::JobError;
use crate::registry;
use crate::table::Table;

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
///
/// Schemas that are missing are made, too. Everything in the schemas of read models follows from the log, so a database that was
/// restored without them can be served after a rebuild.
pub(super) async fn begin(connection: &mut PgConnection, table: &dyn Table) -> Result<(), JobError> {
    forget_ready(connection, table.name()).await?;
    of_version(connection, "select public.make_read_model($1, $2)", table).await?;
    Ok(())
}

/// Calls a function that carries out the statements for the version of a fold.
async fn of_version(connection: &mut PgConnection, call: &str, table: &dyn Table) -> Result<(), sqlx::Error> {
    sqlx::query(call).bind(table.name()).bind(table.version()).execute(connection).await.map(drop)
}

/// Drops the next table, ready or not.
pub(super) async fn give_up(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    drop_from(connection, name, "read_model_next").await?;
    forget_ready(connection, name).await
}

async fn forget_ready(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("update read_models set next_version = null, next_position = null where name = $1")
        .bind(name)
        .execute(connection)
        .await
        .map(drop)
}

/// Drops the table that a swap has moved aside. This is not part of the swap: removing the files of a large table
/// takes long.
pub(super) async fn discard(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    drop_from(connection, name, "read_model_discarded").await
}

async fn drop_from(connection: &mut PgConnection, name: &str, schema: &str) -> Result<(), sqlx::Error> {
    let call = sqlx::query("select public.drop_read_model($1, $2)");
    call.bind(name).bind(schema).execute(connection).await.map(drop)
}

/// The statement that moves a table to another schema, if it is there.
pub(super) fn moving(name: &str, origin: &str, target: &str) -> String {
    format!("select public.move_read_model('{name}', '{origin}', '{target}');")
}

/// Drops the table that a swap has moved aside, but waits 3 s at most for its readers.
pub(super) async fn discard_soon(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    connection.execute("set lock_timeout = '3s'").await?;
    discard(connection, name).await
}

/// Adds the indexes, including that of the key. The table can be read meanwhile.
pub(super) async fn add_indexes(connection: &mut PgConnection, table: &dyn Table) -> Result<(), JobError> {
    of_version(connection, "select public.index_read_model($1, $2)", table).await?;
    Ok(())
}

/// Adds the primary key, which uses its index. This needs the table exclusively.
pub(super) async fn add_key(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    sqlx::query("select public.finish_read_model($1)").bind(name).execute(connection).await?;
    Ok(())
}
