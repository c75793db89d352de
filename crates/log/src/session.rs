//! The settings of our sessions on Postgres.
//!
//! They are set when a connection is open, and not sent with the startup parameter `options`: a pooler such as PgBouncer does not
//! pass that on.

use sqlx::PgConnection;

/// The name of a setting, and its value.
pub type Setting<'a> = (&'a str, &'a str);

/// The settings of sessions that read for clients.
///
/// **Plans.** What is asked for is asked for by a key or in the order of an index. A plan that was made while a table was nearly
/// empty would read all of it, and goes on to do so while it grows. The plan is made once: for a single identity it takes three
/// times as long as to carry it out.
///
/// **The rest.** What a role or a database is given as default is meant for people, and would break exports.
pub const READING: [Setting<'static>; 7] = [
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("statement_timeout", "0"),
];

/// Makes these settings hold until the session ends.
pub async fn set(connection: &mut PgConnection, settings: &[Setting<'_>]) -> Result<(), sqlx::Error> {
    let (names, values): (Vec<&str>, Vec<&str>) = settings.iter().copied().unzip();
    let set =
        "select set_config(name, value, false) from unnest($1::text[], $2::text[]) as setting (name, value)";
    sqlx::query(set).bind(names).bind(values).execute(connection).await?;
    Ok(())
}
