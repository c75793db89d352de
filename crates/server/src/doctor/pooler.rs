//! Whether a connection is a session of Postgres, or one of a pooler that hands every transaction to another one.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::Finding;

/// How long a pooler may make a connection wait for a session. A pooler in session mode has one for each of ours.
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

const ADVICE: &str = "a pooler such as PgBouncer hands every transaction to another session (pool_mode transaction or \
                      statement): use pool_mode = session, or connect to Postgres directly";

/// Two connections at once: while the other one is in a transaction, ours must still have the session that it had
/// before. Only the simple protocol is used, since a prepared statement fails behind such a pooler.
pub(super) async fn pooler(options: &PgConnectOptions) -> anyhow::Result<Finding> {
    let probing = async {
        let (mut ours, mut other) = (options.connect().await?, options.connect().await?);
        let keeps_its_session = keeps_its_session(&mut ours, &mut other).await?;
        ours.close().await?;
        other.close().await?;
        Ok::<_, sqlx::Error>(keeps_its_session)
    };
    match tokio::time::timeout(SESSION_TIMEOUT, probing).await {
        Ok(Ok(true)) => Ok(Finding::good("connections keep their sessions")),
        Ok(Ok(false)) => Ok(Finding::bad(ADVICE)),
        Ok(Err(error)) if is_startup_parameter(&error) => Ok(Finding::bad(format!(
            "{error}: a pooler such as PgBouncer does not pass our settings on; set ignore_startup_parameters = \
             extra_float_digits and track or pass on `options`, or connect to Postgres directly"
        ))),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(Finding::bad(format!("two connections at once got no answer within {SESSION_TIMEOUT:?}: {ADVICE}"))),
    }
}

async fn keeps_its_session(ours: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let before = session(ours).await?;
    sqlx::raw_sql("begin").execute(&mut *other).await?;
    let others = session(other).await?;
    let meanwhile = session(ours).await?;
    sqlx::raw_sql("rollback").execute(other).await?;
    Ok(before == meanwhile && before != others)
}

async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

fn is_startup_parameter(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.message().contains("startup parameter"))
}
