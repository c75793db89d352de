//! Checks of the server, and of the connection to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::PgConnection;

use super::Finding;
use crate::settings::PostgresSettings;

/// The oldest version that has what the log needs, as Postgres numbers its versions.
const OLDEST_VERSION: i32 = 140_000;

/// From this version of Postgres on, a database records the version of the collations that it was created with.
const COLLATION_VERSIONS: i32 = 150_000;

/// Connections besides those that read for clients and those of the workers of a rebuild: three of the committer, three of
/// the service itself, three for webhooks, two of a rebuild.
const OTHER_CONNECTIONS: i64 = 11;

/// How far the clock of the database may be from this machine's.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5);

/// The largest age of a transaction id. There are about two billion ids, and Postgres gives out no more when three
/// million are left.
const MAX_TRANSACTION_AGE: i32 = 1_500_000_000;

/// How full the queue of notifications may be. When it is full, other processes learn of new events only when they look.
const MAX_NOTIFICATION_QUEUE: f64 = 0.5;

/// Further settings: name, right value, and what happens with another value. A setting that this version of Postgres
/// does not have passes.
const SETTINGS: [(&str, &str, &str); 10] = [
    ("full_page_writes", "on", "a power cut may destroy pages"),
    ("default_transaction_isolation", "read committed", "transactions fail where they should wait"),
    ("session_replication_role", "origin", "triggers that protect the history do not run"),
    ("row_security", "on", "queries fail instead of leaving out rows that the role may not see"),
    ("statement_timeout", "0", "exports and rebuilds are cut off; the service has time limits of its own"),
    ("transaction_timeout", "0", "exports and rebuilds are cut off; the service has time limits of its own"),
    ("idle_in_transaction_session_timeout", "0", "exports to slow clients are cut off"),
    ("idle_session_timeout", "0", "connections that wait for work are cut off"),
    ("zero_damaged_pages", "off", "damaged data disappears without a word"),
    ("ignore_checksum_failure", "off", "damaged data is read without a word"),
];

pub(super) async fn version(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let (number, name): (i32, String) = sqlx::query_as(
        "select current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(connection)
    .await?;
    Ok(Finding { passed: number >= OLDEST_VERSION, text: format!("Postgres {name}, 14 or later is needed") })
}

pub(super) async fn fsync(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    is_on(connection, "fsync").await
}

pub(super) async fn synchronous_commit(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    is_on(connection, "synchronous_commit").await
}

/// A weaker value of either setting loses acknowledged writes in a power cut. For `synchronous_commit` the stronger
/// `remote_apply` is as good as `on`.
async fn is_on(connection: &mut PgConnection, setting: &str) -> anyhow::Result<Finding> {
    let query = sqlx::query_scalar("select current_setting($1)").bind(setting);
    let value: String = query.fetch_one(connection).await?;
    Ok(Finding { passed: matches!(value.as_str(), "on" | "remote_apply"), text: format!("is {value}") })
}

pub(super) async fn encoding(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let query = sqlx::query_scalar("select current_setting('server_encoding')");
    let encoding: String = query.fetch_one(connection).await?;
    if encoding == "UTF8" {
        return Ok(Finding::good("is UTF8"));
    }
    Ok(Finding::bad(format!(
        "is {encoding}, which cannot store every name: create a new database with `create database … encoding 'UTF8' \
         template template0`"
    )))
}

/// Checks the search path: migrations create tables in its first schema, and statements expect them in `public`.
pub(super) async fn schema(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let (schema, path): (Option<String>, String) =
        sqlx::query_as("select current_schema()::text, current_setting('search_path')")
            .fetch_one(connection)
            .await?;
    match schema.as_deref() {
        Some("public") => Ok(Finding::good("tables are in public")),
        found => Ok(Finding::bad(format!(
            "tables would be in {}, not in public, because search_path is {path}: run `alter role … set search_path = \
             public` for the role of identityd, and drop a schema of that role's name",
            found.unwrap_or("no schema")
        ))),
    }
}

pub(super) async fn writable(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let (recovers, reads_only): (bool, bool) =
        sqlx::query_as("select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean")
            .fetch_one(connection)
            .await?;
    Ok(match (recovers, reads_only) {
        (true, _) => {
            Finding::bad("this is a standby or still recovers: connect to the primary, or promote this one")
        }
        (_, true) => Finding::bad(
            "transactions are read-only: reset default_transaction_read_only for the role and the database",
        ),
        _ => Finding::good("the database takes writes"),
    })
}

/// Checks replication. If commits wait for a standby and none is connected, they never end. If the role may not see the
/// state of a standby, the standby counts as one that confirms.
pub(super) async fn replication(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let (names, present, checksums, timeline): (String, i64, String, Option<String>) = sqlx::query_as(
        "select current_setting('synchronous_standby_names'),
                (select count(*) from pg_stat_replication where coalesce(sync_state, 'sync') in ('sync', 'quorum')),
                current_setting('data_checksums'),
                case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end",
    )
    .fetch_one(connection)
    .await?;
    let timeline = timeline.map_or_else(
        || "a standby".to_owned(),
        |timeline| {
            format!("the primary on timeline {}", u32::from_str_radix(&timeline, 16).unwrap_or_default())
        },
    );
    let server = format!("this is {timeline}, its data checksums are {checksums}");
    Ok(match (names.as_str(), present) {
        ("", _) => Finding::good(format!("{server}, commits wait for no standby")),
        (names, 0) => Finding::bad(format!(
            "{server}; commits wait for a standby ({names}), and none is connected: start one, or reset \
             synchronous_standby_names"
        )),
        (names, present) => {
            Finding::good(format!("{server}, commits wait for {names}, of which {present} are connected"))
        }
    })
}

pub(super) async fn settings(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let mut wrong = Vec::new();
    for (name, wanted, why) in SETTINGS {
        let query = sqlx::query_scalar("select current_setting($1, true)").bind(name);
        let value: Option<String> = query.fetch_one(&mut *connection).await?;
        if let Some(value) = value.filter(|value| value != wanted) {
            wrong.push(format!("{name} is {value}, should be {wanted}: {why}"));
        }
    }
    if wrong.is_empty() { Ok(Finding::good("all are right")) } else { Ok(Finding::bad(wrong.join("; "))) }
}

/// Limits of the server, of the role and of the database; negative means none.
pub(super) async fn connections(
    connection: &mut PgConnection,
    settings: PostgresSettings,
) -> anyhow::Result<Finding> {
    let (server, role, database, others): (i32, i32, i32, i64) = sqlx::query_as(
        "select current_setting('max_connections')::int
                    - current_setting('superuser_reserved_connections')::int,
                (select rolconnlimit from pg_roles where rolname = current_user),
                (select datconnlimit from pg_database where datname = current_database()),
                (select count(*) from pg_stat_activity
                 where backend_type = 'client backend' and pid <> pg_backend_pid()
                   and application_name not like 'identityd%' and application_name <> '')",
    )
    .fetch_one(connection)
    .await?;
    let needed = connections_of_a_service(settings);
    let limits = [
        ("max_connections", i64::from(server) - others),
        ("the role's connection limit", i64::from(role)),
        ("the database's connection limit", i64::from(database)),
    ];
    let least = limits.into_iter().filter(|(name, limit)| *limit >= 0 || *name == "max_connections");
    let Some((name, limit)) = least.min_by_key(|(_, limit)| *limit) else {
        return Ok(Finding::good("there is no limit"));
    };
    if limit >= needed {
        return Ok(Finding::good(format!("{limit} are available, one service uses up to {needed}")));
    }
    Ok(Finding::bad(format!(
        "{limit} are available, one service uses up to {needed}: raise {name}, or lower database_connections or rebuild_workers"
    )))
}

/// How many connections a service uses at most.
fn connections_of_a_service(settings: PostgresSettings) -> i64 {
    let workers = i64::try_from(settings.rebuild_workers).unwrap_or(i64::MAX);
    i64::from(settings.connections) + OTHER_CONNECTIONS + 2 * workers
}

#[expect(clippy::disallowed_methods, reason = "the clocks of two machines are compared")]
pub(super) async fn clock(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let query = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8");
    let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let database: f64 = query.fetch_one(connection).await?;
    let after = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    // Negative: behind this machine; positive: ahead of it. The time that the query took does not count as a
    // difference.
    let difference = if database > after { database - after } else { (database - before).min(0.0) };
    let text = format!("the clock of the database differs from this machine's by {difference:.1} s");
    if difference.abs() <= MAX_CLOCK_DIFFERENCE.as_secs_f64() {
        return Ok(Finding::good(text));
    }
    Ok(Finding::bad(format!("{text}: events are dated by it; let both be set by NTP")))
}

pub(super) async fn transaction_ids(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let (transactions, groups): (i32, i32) = sqlx::query_as(
        "select age(datfrozenxid), mxid_age(datminmxid) from pg_database where datname = current_database()",
    )
    .fetch_one(connection)
    .await?;
    let age = transactions.max(groups);
    if age < MAX_TRANSACTION_AGE {
        return Ok(Finding::good(format!("the oldest is {age} transactions old")));
    }
    Ok(Finding::bad(format!(
        "the oldest is {age} transactions old, and at 2,100,000,000 Postgres takes no more writes: run `vacuum freeze`, \
         and end transactions, replication slots and prepared transactions that are older than hours"
    )))
}

pub(super) async fn notifications(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let usage: f64 = sqlx::query_scalar("select pg_notification_queue_usage()").fetch_one(connection).await?;
    let text = format!("their queue is {:.0} % full", usage * 100.0);
    if usage <= MAX_NOTIFICATION_QUEUE {
        return Ok(Finding::good(text));
    }
    Ok(Finding::bad(format!(
        "{text}, and when it is full other processes learn of new events late: end the session that listens in an open \
         transaction (pg_stat_activity, oldest xact_start)"
    )))
}

/// Checks collations. An index on text is in the order of the collation that it was built with. After an upgrade of the
/// C library or of ICU a lookup may miss rows, and a name that is taken could be taken again.
pub(super) async fn collations(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(&mut *connection)
        .await?;
    let of_database = "select 'of the database' from pg_database
         where datname = current_database() and datcollversion is not null
           and datcollversion is distinct from pg_database_collation_actual_version(oid)
         union all ";
    let of_database = if version >= COLLATION_VERSIONS { of_database } else { "" };
    let changed: Vec<String> = sqlx::query_scalar(&format!(
        "{of_database} select collname::text from pg_collation
         where collversion is not null and collversion is distinct from pg_collation_actual_version(oid)"
    ))
    .fetch_all(connection)
    .await?;
    if changed.is_empty() {
        return Ok(Finding::good("are of the version that indexes were built with"));
    }
    Ok(Finding::bad(format!(
        "{} changed since indexes were built: stop the service, run `reindex database …`, then `alter database … refresh \
         collation version`",
        changed.join(", ")
    )))
}
