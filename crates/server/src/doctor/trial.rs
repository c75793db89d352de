//! The check that events can be written: some of every aggregate are written, and rolled back.

use anyhow::Context as _;
use identity_log::{AppendError, Log, Settings, connect_options};
use sqlx::{PgConnection, PgPool};

use super::Finding;
use crate::signing::SigningSettings;

pub(super) async fn writes(pool: &PgPool, signing: &SigningSettings) -> anyhow::Result<Finding> {
    let Some(signer) = signing.existing_signer(pool.clone())? else {
        return Ok(Finding::good(
            "not checked, since there is no signing key here: run this where the service runs",
        ));
    };
    let settings = Settings::new(std::time::Duration::MAX, signer.key().seal_key());
    let (log, _) = Log::open(connect_options(pool), identity_projections::all(), settings);
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    let Err(error) = log.try_write(&mut connection).await else {
        return Ok(Finding::good("events of every aggregate can be written; they were rolled back"));
    };
    let holders = if is_about_a_lock(&error) { holders(&mut connection).await? } else { vec![] };
    let mut text = format!("events cannot be written: {}", anyhow::Error::from(error).root_cause());
    if !holders.is_empty() {
        text.push_str("; transactions with locks on log_head: ");
        text.push_str(&holders.join("; "));
    }
    Ok(Finding::bad(text))
}

/// Whether a lock was not to be had in time.
fn is_about_a_lock(error: &AppendError) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.any(|error| {
        let error = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        error.and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "55P03")
    })
}

/// The other transactions that have changed `log_head` or locked its row, the oldest first.
async fn holders(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let query = "
        select format('process %s of role %s (%s), %s, begun %s', pid, usename, coalesce(application_name, ''),
                      coalesce(state, 'whose state only its own role may see'), xact_start)
        from pg_stat_activity
        where pid <> pg_backend_pid()
          and pid in (select pid from pg_locks
                      where database = (select oid from pg_database where datname = current_database())
                        and relation = 'public.log_head'::regclass and granted
                        and mode in ('RowShareLock', 'RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
        order by xact_start nulls last";
    sqlx::query_scalar(query).fetch_all(connection).await.context("cannot look up who has log_head locked")
}
