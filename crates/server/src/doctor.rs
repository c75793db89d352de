//! What an operator would check by hand when something is wrong with the database. Changes nothing.

use anyhow::Context as _;
use sqlx::{PgConnection, PgPool};

use crate::migrations;

/// What the log relies on is there from this version on, as Postgres numbers its versions.
const OLDEST_VERSION: i32 = 140_000;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in snake case.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was found.
    pub finding: String,
}

impl Check {
    /// The check that stands for all others when there is no database to ask.
    pub fn reachable(opened: Result<(), String>) -> Self {
        let passed = opened.is_ok();
        let finding = opened.err().unwrap_or_else(|| "the database answers".to_owned());
        Self { name: "reachable", passed, finding }
    }

    /// A check that could not be carried out has not been passed.
    fn of(name: &'static str, outcome: anyhow::Result<(bool, String)>) -> Self {
        let (passed, finding) = outcome.unwrap_or_else(|error| (false, format!("{error:#}")));
        Self { name, passed, finding }
    }
}

/// Looks at a database that can be reached.
pub async fn examine(pool: &PgPool) -> anyhow::Result<Vec<Check>> {
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    Ok(vec![
        Check::reachable(Ok(())),
        Check::of("postgres_version", version(&mut connection).await),
        Check::of("migrations", migrations_applied(&mut connection).await),
        Check::of("fsync", is_on(&mut connection, "fsync").await),
        Check::of("synchronous_commit", is_on(&mut connection, "synchronous_commit").await),
        Check::of("free_numbers", free_numbers(&mut connection).await),
    ])
}

async fn version(connection: &mut PgConnection) -> anyhow::Result<(bool, String)> {
    let (number, name): (i32, String) = sqlx::query_as(
        "select current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(connection)
    .await?;
    Ok((number >= OLDEST_VERSION, format!("Postgres {name}, 14 or later is needed")))
}

async fn migrations_applied(connection: &mut PgConnection) -> anyhow::Result<(bool, String)> {
    let progress = migrations::progress(connection).await?;
    let finding = if progress.is_complete() {
        format!("all {} are applied", migrations::known())
    } else {
        let migrations::Progress { pending, damaged, unknown } = &progress;
        format!("pending {pending:?}, damaged {damaged:?}, from a newer identityd {unknown:?}")
    };
    Ok((progress.is_complete(), finding))
}

/// A weaker value of either setting loses acknowledged writes in a power cut. For `synchronous_commit` the stronger
/// `remote_apply` is as good as `on`.
async fn is_on(connection: &mut PgConnection, setting: &str) -> anyhow::Result<(bool, String)> {
    let query = sqlx::query_scalar("select current_setting($1)").bind(setting);
    let value: String = query.fetch_one(connection).await?;
    Ok((matches!(value.as_str(), "on" | "remote_apply"), format!("is {value}")))
}

async fn free_numbers(connection: &mut PgConnection) -> anyhow::Result<(bool, String)> {
    let query = sqlx::query_scalar("select count(*) from phone_number_pool where claimed_by is null");
    let free: i64 = query.fetch_one(connection).await.context("cannot count them")?;
    Ok((free > 0, format!("{free} are left")))
}
