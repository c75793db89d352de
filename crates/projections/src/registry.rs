//! The registry of read models: version, last job and last verification of each.

use identity_log::ReadError;
use sqlx::{FromRow, PgConnection, PgExecutor};
use time::OffsetDateTime;

use crate::table::Table;

/// The entry of a read model.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether there is a live table.
    pub is_there: bool,
    /// The version of the fold that built the live table; 0 if it is unknown.
    pub version: i32,
    /// When the live table was built.
    pub built_at: OffsetDateTime,
    /// The position up to which it was folded when it became the live one.
    pub built_position: i64,
    /// The version of the retired table.
    pub retired_version: Option<i32>,
    /// When that table was retired.
    pub retired_at: Option<OffsetDateTime>,
    /// The position up to which that table is folded.
    pub retired_position: Option<i64>,
    /// The version of the table that is ready for the cut-over.
    pub next_version: Option<i32>,
    /// The position up to which that table is folded.
    pub next_position: Option<i64>,
    /// Whether a job works on it at present.
    pub job_runs: bool,
    /// The phase of the job, or how the last one ended: `done`, `ready`, `failed in phase …`, `interrupted in phase
    /// …`. Any other phase, if no job runs, is the phase in which the last job was killed.
    pub job_phase: Option<String>,
    /// Events that the job has read.
    pub job_done: Option<i64>,
    /// Events that the job has to read.
    pub job_total: Option<i64>,
    /// When the job last updated these fields.
    pub job_updated_at: Option<OffsetDateTime>,
    /// When the live table was last compared with the log.
    pub verified_at: Option<OffsetDateTime>,
    /// The position of that verification.
    pub verified_position: Option<i64>,
    /// The number of differences that it found.
    pub differences: Option<i64>,
}

/// Adds entries for read models that have none. If the log is empty, the empty table is right for every version.
/// Otherwise nobody knows which fold wrote the table, so the version is 0.
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

/// SQL that selects who works on a read model: the backends with its advisory lock in this database.
const LOCK_HOLDERS: &str = "
    select application_name || ' (Postgres backend ' || pid || ')'
    from pg_locks
    join pg_stat_activity using (pid)
    where locktype = 'advisory'
      and granted
      and pg_locks.database = (select oid from pg_database where datname = current_database())
      and classid = hashtext('identityd read model')::bigint::bit(32)::bigint::oid
      and objid = hashtext(name)::bigint::bit(32)::bigint::oid";

/// All entries, by name.
pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Entry>, sqlx::Error> {
    let query = format!(
        "select name, to_regclass('read_model.' || name) is not null as is_there, version, built_at, built_position,
                case when to_regclass('read_model_retired.' || name) is not null then retired_version end as retired_version,
                retired_at, retired_position,
                case when to_regclass('read_model_next.' || name) is not null then next_version end as next_version,
                next_position, job_phase, job_done, job_total, job_updated_at,
                verified_at, verified_position, differences, exists ({LOCK_HOLDERS}) as job_runs
         from read_models
         order by name"
    );
    sqlx::query_as(&query).fetch_all(executor).await
}

/// Whether there is a live table of a read model. There is none after a part of a backup was restored.
pub(crate) async fn is_there(executor: impl PgExecutor<'_>, name: &str) -> Result<bool, sqlx::Error> {
    let query = "select to_regclass('read_model.' || $1) is not null";
    sqlx::query_scalar(query).bind(name).fetch_one(executor).await
}

/// Who works on a read model, if anybody does.
pub(crate) async fn holder(executor: impl PgExecutor<'_>, name: &str) -> Result<Option<String>, sqlx::Error> {
    let query = format!("select ({LOCK_HOLDERS} limit 1) from unnest(array[$1]) as name");
    sqlx::query_scalar(&query).bind(name).fetch_one(executor).await
}

/// Updates the phase and progress of a job.
pub(crate) async fn note_progress(
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

/// Notes how a job ended whose connection was lost during the commit of its swap. If the swap was committed, the entry
/// says `done`, and stays. A commit that is still going on holds the row, so this waits for it.
pub(crate) async fn note_unless_done(
    executor: impl PgExecutor<'_>,
    name: &str,
    ended: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update read_models set job_phase = $2, job_updated_at = now() where name = $1 and job_phase <> 'done'",
    )
    .bind(name)
    .bind(ended)
    .execute(executor)
    .await?;
    Ok(())
}

/// Records that a table is ready for the cut-over, and the position up to which it is folded.
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

/// Records the result of a verification.
pub(crate) async fn note_verified(
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
