//! Whether a connection is a session of Postgres, or one of a pooler that hands every transaction to another one.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use super::Finding;

/// How long a pooler may make a connection wait for a session. A pooler in session mode has one for each of ours.
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// A setting without meaning, which only shows whether settings arrive.
const PROBE: &str = "identityd.probe";

const MIXES_SESSIONS: &str = "a pooler such as PgBouncer hands every transaction to another session (pool_mode \
                              transaction or statement): connect to Postgres directly";

/// What to do where a pooler stands between us and Postgres that does not pass our settings on.
const DROPS_SETTINGS: &str = "a pooler such as PgBouncer does not pass on the settings that a connection begins with \
                              (startup parameter `options`), in no pool_mode: connect to Postgres directly";

/// What a connection through the pooler is like.
enum Session {
    Kept,
    Mixed,
    WithoutSettings,
}

/// Two connections at once: while the other one is in a transaction, ours must still have the session that it had
/// before. Only the simple protocol is used, since a prepared statement fails behind such a pooler.
pub(super) async fn pooler(options: &PgConnectOptions) -> anyhow::Result<Finding> {
    match tokio::time::timeout(SESSION_TIMEOUT, probe(options)).await {
        Ok(Ok(Session::Kept)) => Ok(Finding::good("connections keep their sessions")),
        Ok(Ok(Session::Mixed)) => Ok(Finding::bad(MIXES_SESSIONS)),
        Ok(Ok(Session::WithoutSettings)) => Ok(Finding::bad(DROPS_SETTINGS)),
        Ok(Err(error)) => explain(&error).map_or_else(|| Err(error.into()), |why| Ok(Finding::bad(why))),
        Err(_) => {
            let text = format!("two connections at once got no answer within {SESSION_TIMEOUT:?}");
            Ok(Finding::bad(format!("{text}; perhaps {MIXES_SESSIONS}")))
        }
    }
}

/// What to do about an error that only a pooler answers with.
pub(crate) fn explain(error: &sqlx::Error) -> Option<&'static str> {
    let message = error.as_database_error()?.message();
    if message.contains("startup parameter") {
        Some(DROPS_SETTINGS)
    } else if message.contains("pooling mode") {
        Some(MIXES_SESSIONS)
    } else {
        None
    }
}

async fn probe(options: &PgConnectOptions) -> Result<Session, sqlx::Error> {
    let mut ours = options.clone().options([(PROBE, "on")]).connect().await?;
    let mut other = options.connect().await?;
    let query = format!("select current_setting('{PROBE}', true)");
    let arrived: Option<String> = sqlx::raw_sql(&query).fetch_one(&mut ours).await?.try_get(0)?;
    let session = if !keeps_its_session(&mut ours, &mut other).await? {
        Session::Mixed
    } else if arrived.as_deref() == Some("on") {
        Session::Kept
    } else {
        Session::WithoutSettings
    };
    ours.close().await?;
    other.close().await?;
    Ok(session)
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
