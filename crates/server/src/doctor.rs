//! The checks that an operator would do by hand when something is wrong with the database. They change nothing.
//!
//! Every check is a function in `RULES`. The checks that find a database which cannot be served at all are also made
//! when the service starts, so that it ends with one line that says what to do.

mod content;
mod guards;
mod locks;
pub(crate) mod pooler;
mod proof;
mod server;
pub mod serving;
pub mod tables;
mod trial;

use anyhow::{Context as _, bail};
use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

use crate::roles;
use crate::secrets_key::SecretsSettings;
use crate::settings::PostgresSettings;
use crate::signing::SigningSettings;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The name of the check, in snake case.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was found, and what to do if it is not as it should be.
    pub finding: String,
}

/// The result of a check, without its name.
#[derive(Debug)]
struct Finding {
    passed: bool,
    text: String,
}

struct Rule {
    name: &'static str,
    /// Whether it is also made before a database is migrated or served.
    is_for_preparation: bool,
    look: for<'a> fn(&'a mut PgConnection) -> BoxFuture<'a, anyhow::Result<Finding>>,
}

macro_rules! rule {
    ($name:literal, $look:path) => {
        rule!($name, $look, false)
    };
    ($name:literal, $look:path, before_writes) => {
        rule!($name, $look, true)
    };
    ($name:literal, $look:path, $is_for_preparation:literal) => {
        Rule {
            name: $name,
            is_for_preparation: $is_for_preparation,
            look: |connection| Box::pin($look(connection)),
        }
    };
}

/// All checks of a database, in the order in which they are shown. Names are read by scripts and stay.
static RULES: [Rule; 25] = [
    rule!("postgres_version", server::version),
    rule!("migrations", content::migrations),
    rule!("fsync", server::fsync),
    rule!("synchronous_commit", server::synchronous_commit),
    rule!("free_numbers", content::free_numbers),
    rule!("encoding", server::encoding, before_writes),
    rule!("schema", server::schema, before_writes),
    rule!("writable", server::writable, before_writes),
    rule!("log", content::log),
    rule!("read_models", content::read_models),
    rule!("read_model_rows", content::read_model_rows),
    rule!("claims", content::claims),
    rule!("ciphertexts", content::ciphertexts),
    rule!("triggers", content::triggers),
    rule!("tables", tables::tables),
    rule!("role", content::role),
    rule!("schemas", content::schemas, before_writes),
    rule!("settings", server::settings),
    rule!("clock", server::clock),
    rule!("event_times", content::event_times),
    rule!("transaction_ids", server::transaction_ids),
    rule!("notifications", server::notifications),
    rule!("collations", server::collations),
    rule!("replication", server::replication),
    rule!("restore", content::restore, before_writes),
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
    /// The only check if the database cannot be reached.
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

/// Checks a database that can be reached, and tells of each check when it was made. Behind a pooler that mixes sessions up no other
/// check can be made.
pub async fn examine(
    pool: &PgPool,
    settings: PostgresSettings,
    signing: &SigningSettings,
    secrets: &SecretsSettings,
    tell: &mut dyn FnMut(&Check),
) -> anyhow::Result<Vec<Check>> {
    let pooler = Check::of("pooler", pooler::pooler(&pool.connect_options()).await);
    if !pooler.passed {
        let checks = vec![Check::reachable(Ok(())), pooler];
        checks.iter().for_each(tell);
        return Ok(checks);
    }
    let pool = locks::pool(pool);
    let connection = pool.acquire().await.context("cannot connect to the database")?;
    let mut examination = Examination { connection, checks: vec![], tell };
    examination.add(Check::reachable(Ok(())));
    examination.look(settings, secrets).await;
    examination.try_out(&pool, signing).await;
    examination.add(pooler);
    let Examination { checks, connection, .. } = examination;
    // `close` waits for every connection.
    drop(connection);
    pool.close().await;
    Ok(checks)
}

/// The checks that were made.
struct Examination<'a> {
    connection: PoolConnection<Postgres>,
    checks: Vec<Check>,
    tell: &'a mut dyn FnMut(&Check),
}

impl Examination<'_> {
    fn add(&mut self, check: Check) {
        (self.tell)(&check);
        self.checks.push(check);
    }

    /// Adds a check. If it has not got a lock in time, it names who has it.
    async fn add_found(&mut self, name: &'static str, outcome: anyhow::Result<Finding>) {
        let outcome = locks::named(&mut self.connection, outcome).await;
        self.add(Check::of(name, outcome));
    }

    fn has_passed(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name && check.passed)
    }

    /// The checks that need one connection.
    async fn look(&mut self, settings: PostgresSettings, secrets: &SecretsSettings) {
        for rule in &RULES {
            let outcome = (rule.look)(&mut self.connection).await;
            self.add_found(rule.name, outcome).await;
        }
        let connections = server::connections(&mut self.connection, settings).await;
        self.add_found("connections", connections).await;
        let secrets = secrets.examine(&mut self.connection).await.map(Finding::good);
        self.add_found("secrets_key", secrets).await;
    }

    /// The check of the memory of the signer, and the checks that mean something only if others have passed.
    async fn try_out(&mut self, pool: &PgPool, signing: &SigningSettings) {
        let memory = proof::memory(pool, signing).await;
        self.add_found("signer_memory", memory).await;
        let is_whole = self.has_passed("log");
        let is_readable = is_whole && self.has_passed("read_models") && self.has_passed("read_model_rows");
        let signatures = if is_whole {
            proof::signatures(pool, signing).await
        } else {
            Ok(proof::not_asked("the check `log`"))
        };
        self.add_found("signatures", signatures).await;
        let readers = if is_readable {
            proof::readers(pool).await
        } else {
            Ok(proof::not_asked("`log`, `read_models` or `read_model_rows`"))
        };
        self.add_found("readers", readers).await;
        let writes = if is_readable && self.has_passed("writable") {
            trial::writes(pool, signing).await
        } else {
            Ok(proof::not_asked("`log`, `read_models`, `read_model_rows` or `writable`"))
        };
        self.add_found("writes", writes).await;
    }
}

/// Fails if the database cannot be served, before anything is written to it.
pub(crate) async fn refuse_unusable(pool: &PgPool) -> anyhow::Result<()> {
    refuse_pooler(pool).await?;
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    roles::refuse_without_rights(&mut connection).await?;
    for rule in RULES.iter().filter(|rule| rule.is_for_preparation) {
        refuse(Check::of(rule.name, (rule.look)(&mut connection).await))?;
    }
    Ok(())
}

/// Fails behind a pooler that mixes sessions up.
pub(crate) async fn refuse_pooler(pool: &PgPool) -> anyhow::Result<()> {
    refuse(Check::of("pooler", pooler::pooler(&pool.connect_options()).await))
}

/// Says at the start what will be short. The service starts nevertheless: it may never need all of it.
pub(crate) async fn warn_of_few_connections(pool: &PgPool, settings: PostgresSettings) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    let Finding { passed, text } = server::connections(&mut connection, settings).await?;
    if !passed {
        tracing::warn!("Postgres may have too few connections: {text}");
    }
    Ok(())
}

/// Fails if a part of a migrated database is missing.
pub(crate) async fn refuse_incomplete(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    refuse(Check::of("log", content::log_can_go_on(&mut connection).await))
}

fn refuse(check: Check) -> anyhow::Result<()> {
    let Check { name, passed, finding } = check;
    if passed { Ok(()) } else { bail!("this database cannot be served ({name}): {finding}") }
}
