//! Whether a connection is one session of Postgres, or a pooler gives each transaction another session.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::Finding;

/// How long a connection may wait for a session. A pooler in session mode gives each connection a session of its own.
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

const MIXES_SESSIONS: &str = "a pooler such as PgBouncer hands every transaction to another session (pool_mode \
                              transaction or statement): connect to Postgres directly";

/// What to do about a pooler that refuses a startup parameter.
const REFUSES_PARAMETERS: &str = "a pooler such as PgBouncer refuses a parameter that connections begin with: set its \
                                  ignore_startup_parameters to extra_float_digits,options";

/// Checks with two connections: while the second one is in a transaction, the first one must still have the session
/// that it had before. Only the simple protocol is used, since prepared statements fail behind such a pooler.
pub(super) async fn pooler(options: &PgConnectOptions) -> anyhow::Result<Finding> {
    match tokio::time::timeout(SESSION_TIMEOUT, probe(options)).await {
        Ok(Ok(true)) => Ok(Finding::good("connections keep their sessions")),
        Ok(Ok(false)) => Ok(Finding::bad(MIXES_SESSIONS)),
        Ok(Err(error)) => explain(&error).map_or_else(|| Err(error.into()), |why| Ok(Finding::bad(why))),
        Err(_) => {
            let text = format!("two connections at once got no answer within {SESSION_TIMEOUT:?}");
            Ok(Finding::bad(format!("{text}; perhaps {MIXES_SESSIONS}")))
        }
    }
}

/// What to do about an error that comes from a pooler; `None` for other errors.
pub(crate) fn explain(error: &sqlx::Error) -> Option<&'static str> {
    let message = error.as_database_error()?.message();
    if message.contains("startup parameter") {
        Some(REFUSES_PARAMETERS)
    } else if message.contains("pooling mode") {
        Some(MIXES_SESSIONS)
    } else {
        None
    }
}

/// Whether a connection keeps its session.
async fn probe(options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let (mut ours, mut other) = (options.connect().await?, options.connect().await?);
    let is_kept = keeps_its_session(&mut ours, &mut other).await?;
    ours.close().await?;
    other.close().await?;
    Ok(is_kept)
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
