//! Who holds the lock that a check has not got in time.

use anyhow::{Context as _, anyhow};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgConnection, PgPool};

use super::Finding;

/// How long a check waits for a lock. Without a limit it would wait as long as the service does, and say nothing.
const SET_LOCK_TIMEOUT: &str = "set lock_timeout = '2s'";

/// A check needs one connection; the others are for functions that take some of their own.
const CONNECTIONS: u32 = 4;

/// The other transactions that have our tables locked, the oldest first. Rows of `log_head` are locked by every write.
const HOLDERS: &str = "
    select format('%s by process %s of role %s (%s), %s, begun %s', relation::regclass, pid, usename, coalesce(application_name, ''),
                  coalesce(state, 'whose state only its own role may see'), xact_start)
    from (select distinct relation, pid
          from pg_locks join pg_class on pg_class.oid = relation join pg_namespace as namespace on namespace.oid = relnamespace
          where database = (select oid from pg_database where datname = current_database())
            and relkind = 'r' and (nspname = 'public' or nspname like 'read_model%') and granted
            and (mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                 or relation = to_regclass('public.log_head') and mode in ('RowShareLock', 'RowExclusiveLock'))) as held
    join pg_stat_activity using (pid)
    where pid <> pg_backend_pid()
    order by xact_start nulls last, pid, relation";

/// Connections that wait for a lock for at most two seconds.
pub(super) fn pool(pool: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SET_LOCK_TIMEOUT).await.map(drop) })
        })
        .connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// The same outcome, which names the locked tables and who has locked them if a lock was not to be had in time.
pub(super) async fn named(
    connection: &mut PgConnection,
    outcome: anyhow::Result<Finding>,
) -> anyhow::Result<Finding> {
    let Err(error) = outcome else { return outcome };
    if !is_about_a_lock(&error) {
        return Err(error);
    }
    let holders: Vec<String> = sqlx::query_scalar(HOLDERS)
        .fetch_all(connection)
        .await
        .context("cannot look up who has locked tables")?;
    let cause = error.root_cause();
    Err(if holders.is_empty() {
        anyhow!("{cause}: a table was locked for two seconds, and is not any more")
    } else {
        anyhow!("{cause}: end the transaction that is in the way. Locked are: {}", holders.join("; "))
    })
}

/// Whether a lock was not to be had in time.
fn is_about_a_lock(error: &anyhow::Error) -> bool {
    error.chain().any(|error| {
        let error = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        error.and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "55P03")
    })
}
