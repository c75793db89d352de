//! What an operator would check by hand when something is wrong with the database. Changes nothing.
//!
//! Every check is a function of its own in `RULES`. Those that tell of a database which cannot be served at all are
//! also asked when the service starts, so that it ends with one line that says what to do.

mod content;
pub(crate) mod pooler;
mod proof;
mod server;
pub mod serving;

use anyhow::{Context as _, bail};
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};

use crate::secrets::SecretsSettings;
use crate::signing::SigningSettings;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in snake case.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was found, and what to do if it is not as it should be.
    pub finding: String,
}

/// What a check has found.
#[derive(Debug)]
struct Finding {
    passed: bool,
    text: String,
}

/// When a check is asked besides by the doctor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AlsoAt {
    /// Before anything is written to a database that is served or migrated.
    Preparation,
    /// When the service starts, after the migrations.
    Start,
    /// Never.
    No,
}

struct Rule {
    name: &'static str,
    also_at: AlsoAt,
    look: for<'a> fn(&'a mut PgConnection) -> BoxFuture<'a, anyhow::Result<Finding>>,
}

macro_rules! rule {
    ($name:literal, $also_at:ident, $look:path) => {
        Rule { name: $name, also_at: AlsoAt::$also_at, look: |connection| Box::pin($look(connection)) }
    };
}

/// All checks of a database, in the order in which they are shown. Names are read by scripts and stay.
static RULES: [Rule; 19] = [
    rule!("postgres_version", No, server::version),
    rule!("migrations", No, content::migrations),
    rule!("fsync", No, server::fsync),
    rule!("synchronous_commit", No, server::synchronous_commit),
    rule!("free_numbers", No, content::free_numbers),
    rule!("encoding", Preparation, server::encoding),
    rule!("schema", Preparation, server::schema),
    rule!("writable", Preparation, server::writable),
    rule!("log", No, content::log),
    rule!("read_models", Start, content::read_models),
    rule!("read_model_rows", No, content::read_model_rows),
    rule!("triggers", No, content::triggers),
    rule!("settings", No, server::settings),
    rule!("connections", No, server::connections),
    rule!("clock", No, server::clock),
    rule!("event_times", No, content::event_times),
    rule!("transaction_ids", No, server::transaction_ids),
    rule!("notifications", No, server::notifications),
    rule!("collations", No, server::collations),
];

impl Finding {
    fn good(text: impl Into<String>) -> Self {
        Self { passed: true, text: text.into() }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self { passed: false, text: text.into() }
    }
}

impl Check {
    /// The check that stands for all others when there is no database to ask.
    pub fn reachable(opened: Result<(), String>) -> Self {
        let passed = opened.is_ok();
        let finding = opened.err().unwrap_or_else(|| "the database answers".to_owned());
        Self { name: "reachable", passed, finding }
    }

    /// A check that could not be carried out has not been passed.
    fn of(name: &'static str, outcome: anyhow::Result<Finding>) -> Self {
        let Finding { passed, text } = outcome.unwrap_or_else(|error| Finding::bad(format!("{error:#}")));
        Self { name, passed, finding: text }
    }
}

/// Looks at a database that can be reached. Behind a pooler that mixes sessions up nothing else can be asked.
pub async fn examine(
    pool: &PgPool,
    signing: &SigningSettings,
    secrets: &SecretsSettings,
) -> anyhow::Result<Vec<Check>> {
    let pooler = Check::of("pooler", pooler::pooler(&pool.connect_options()).await);
    if !pooler.passed {
        return Ok(vec![Check::reachable(Ok(())), pooler]);
    }
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    let mut checks = vec![Check::reachable(Ok(()))];
    for rule in &RULES {
        checks.push(Check::of(rule.name, (rule.look)(&mut connection).await));
    }
    checks.push(Check::of("secrets_key", secrets.examine(&mut connection).await.map(Finding::good)));
    drop(connection);
    let is_whole = checks.iter().any(|check| check.name == "log" && check.passed);
    let signatures = if is_whole { proof::signatures(pool, signing).await } else { Ok(proof::not_asked()) };
    checks.push(Check::of("signatures", signatures));
    checks.push(pooler);
    Ok(checks)
}

/// Fails where a database cannot be served, before anything is written to it.
pub(crate) async fn refuse_unusable(pool: &PgPool) -> anyhow::Result<()> {
    refuse(Check::of("pooler", pooler::pooler(&pool.connect_options()).await))?;
    refuse_all(AlsoAt::Preparation, pool).await
}

/// Fails where something of a migrated database is missing.
pub(crate) async fn refuse_incomplete(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    refuse(Check::of("log", content::log_can_go_on(&mut connection).await))?;
    drop(connection);
    refuse_all(AlsoAt::Start, pool).await
}

async fn refuse_all(also_at: AlsoAt, pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    for rule in RULES.iter().filter(|rule| rule.also_at == also_at) {
        refuse(Check::of(rule.name, (rule.look)(&mut connection).await))?;
    }
    Ok(())
}

fn refuse(check: Check) -> anyhow::Result<()> {
    let Check { name, passed, finding } = check;
    if passed { Ok(()) } else { bail!("this database cannot be served ({name}): {finding}") }
}
