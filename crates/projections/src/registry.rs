//! What is known of every read model beside its rows: version, last job, last verification.

use identity_log::ReadError;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::table::Table;

/// A read model as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The version of the fold that built the live table; 0 if nobody knows.
    pub version: i32,
    /// When the live table was built.
    pub built_at: OffsetDateTime,
    /// Up to which position it was built before it went live.
    pub built_position: i64,
    /// The version of the table that can be rolled back to.
    pub retired_version: Option<i32>,
    /// When that one was retired.
    pub retired_at: Option<OffsetDateTime>,
    /// Where in the log it stopped.
    pub retired_position: Option<i64>,
    /// The version of the table that is ready to go live.
    pub next_version: Option<i32>,
    /// Where in the log it stopped.
    pub next_position: Option<i64>,
    /// Whether a job is at work on it now.
    pub job_runs: bool,
    /// What the job is doing, or how the last one ended: `done`, `ready`, `failed in phase …`, `interrupted in
    /// phase …`. Anything else, with no job at work, is where it was killed.
    pub job_phase: Option<String>,
    /// Events it has read.
    pub job_done: Option<i64>,
    /// Events it has to read.
    pub job_total: Option<i64>,
    /// When it last said so.
    pub job_updated_at: Option<OffsetDateTime>,
    /// When the live table was last held against the log.
    pub verified_at: Option<OffsetDateTime>,
    /// At which position.
    pub verified_position: Option<i64>,
    /// How many differences there were.
    pub differences: Option<i64>,
}

/// Enters read models that are not known yet. Over an empty log an empty table is what any fold comes to; over any
/// other nobody knows what the table holds, which version 0 says.
pub async fn register(connection: &mut PgConnection, tables: &[&dyn Table]) -> Result<(), sqlx::Error> {
    let (names, versions): (Vec<&str>, Vec<i32>) =
        tables.iter().map(|table| (table.name(), table.version())).unzip();
    sqlx::query(
        "insert into read_models (name, version, built_at, built_position)
         select name, case when position = 0 then version else 0 end, now(), position
         from unnest($1::text[], $2::integer[]) as known (name, version), log_head
         on conflict on constraint read_models_pkey do nothing",
    )
    .bind(names)
    .bind(versions)
    .execute(connection)
    .await?;
    Ok(())
}

/// Who holds which read model: those who have its advisory lock in this database.
const HOLDERS: &str = "
    select application_name || ' (Postgres backend ' || pid || ')'
    from pg_locks
    join pg_stat_activity using (pid)
    where locktype = 'advisory'
      and granted
      and pg_locks.database = (select oid from pg_database where datname = current_database())
      and classid = hashtext('identityd read model')::bigint::bit(32)::bigint::oid
      and objid = hashtext(name)::bigint::bit(32)::bigint::oid";

/// Every entry, by name.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Entry>, sqlx::Error> {
    let query = format!(
        "select name, version, built_at, built_position, retired_version, retired_at, retired_position,
                next_version, next_position, job_phase, job_done, job_total, job_updated_at,
                verified_at, verified_position, differences, exists ({HOLDERS}) as job_runs
         from read_models
         order by name"
    );
    sqlx::query_as(&query).fetch_all(executor).await
}

/// Who works on a read model, if anybody does.
pub(crate) async fn holder(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, sqlx::Error> {
    let query = format!("select ({HOLDERS} limit 1) from unnest(array[$1]) as name");
    sqlx::query_scalar(&query).bind(name).fetch_one(executor).await
}

/// Notes how far a job has come.
pub async fn note_progress(
    executor: impl PgExecutor<'_>,
    name: &str,
    phase: &str,
    done: u64,
    total: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update read_models
         set job_phase = $2, job_done = $3, job_total = $4, job_updated_at = now()
         where name = $1",
    )
    .bind(name)
    .bind(phase)
    .bind(i64::try_from(done).unwrap_or(i64::MAX))
    .bind(i64::try_from(total).unwrap_or(i64::MAX))
    .execute(executor)
    .await?;
    Ok(())
}

/// Notes that a table is ready to go live, and up to which position it was caught up.
pub(crate) async fn note_ready(
    executor: impl PgExecutor<'_>,
    name: &str,
    version: i32,
    position: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("update read_models set next_version = $2, next_position = $3 where name = $1")
        .bind(name)
        .bind(version)
        .bind(position)
        .execute(executor)
        .await?;
    Ok(())
}

/// Notes how a verification ended.
pub async fn note_verified(
    executor: impl PgExecutor<'_>,
    name: &str,
    position: i64,
    differences: usize,
) -> Result<(), ReadError> {
    sqlx::query(
        "update read_models set verified_at = now(), verified_position = $2, differences = $3 where name = $1",
    )
    .bind(name)
    .bind(position)
    .bind(i64::try_from(differences).unwrap_or(i64::MAX))
    .execute(executor)
    .await?;
    Ok(())
}
