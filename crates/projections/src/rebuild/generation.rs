//! The next generation of a table: alike to the live one, and nobody's but the job's.

use sqlx::{Executor as _, PgConnection};

use super::error::JobError;

/// Takes the lock of a read model for as long as the connection lives.
pub(super) async fn lock(connection: &mut PgConnection, name: &str) -> Result<(), JobError> {
    let taken: bool =
        sqlx::query_scalar("select pg_try_advisory_lock(hashtext('identityd read model'), hashtext($1))")
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
    if taken { Ok(()) } else { Err(JobError::Held(holder(connection, name).await?)) }
}

async fn holder(connection: &mut PgConnection, name: &str) -> Result<String, sqlx::Error> {
    let holder: Option<String> = sqlx::query_scalar(
        "select application_name || ' (Postgres backend ' || pid || ')'
         from pg_locks
         join pg_stat_activity using (pid)
         where locktype = 'advisory'
           and granted
           and classid = hashtext('identityd read model')::bigint::bit(32)::bigint::oid
           and objid = hashtext($1)::bigint::bit(32)::bigint::oid",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    Ok(holder.unwrap_or_else(|| "another job".to_owned()))
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

async fn constraints(connection: &mut PgConnection, name: &str) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select format('alter table read_model_next.%I add constraint %I %s', $1, conname, pg_get_constraintdef(oid))
         from pg_constraint
         where conrelid = ('read_model.' || $1)::regclass
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
