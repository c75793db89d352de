//! The settings of our sessions on Postgres.
//!
//! A connection begins with them, by the startup parameter `options`: otherwise a time limit that a role has as default could end
//! its first statement. A pooler such as `PgBouncer` does not pass that parameter on, so they are set once more when the
//! connection is open.

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

/// The name of a setting, and its value.
pub type Setting<'a> = (&'a str, &'a str);

/// The settings of sessions that read for clients.
///
/// **Plans.** Queries find rows by key or read them in index order. A plan that was made while a table was nearly empty would read
/// the whole table, also after it has grown. Each plan is made once: planning the query for a single identity takes three times as
/// long as executing it.
///
/// **Search path, time limits and isolation.** These override defaults of a role or database, which could hide tables or abort an
/// export.
pub const READER_SETTINGS: [Setting<'static>; 8] = [
    ("search_path", "public"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("statement_timeout", "0"),
];

/// The same options for connections that begin with these settings. A space in a setting is escaped in the startup message.
pub fn beginning_with(options: PgConnectOptions, settings: &[Setting<'_>]) -> PgConnectOptions {
    options.options(settings.iter().map(|(name, value)| (name, value.replace(' ', r"\ "))))
}

/// Whether transactions of this session are read-only unless they say otherwise. A role, a database or a server can have that as
/// default for a while, and a session keeps the default with which it began.
pub async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select current_setting('default_transaction_read_only')::boolean")
        .fetch_one(connection)
        .await
}

/// Makes these settings hold until the session ends.
pub async fn set(connection: &mut PgConnection, settings: &[Setting<'_>]) -> Result<(), sqlx::Error> {
    let (names, values): (Vec<&str>, Vec<&str>) = settings.iter().copied().unzip();
    let set =
        "select set_config(name, value, false) from unnest($1::text[], $2::text[]) as setting (name, value)";
    sqlx::query(set).bind(names).bind(values).execute(connection).await?;
    Ok(())
}
