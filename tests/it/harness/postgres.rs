//! The one Postgres that all tests of this process share, and the template that every database is copied from.

use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use identityd::signing::SigningSettings;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::server::Server;
use super::supervisor::Supervisor;
use super::wait;

const TEMPLATE: &str = "identityd_test_template";

/// The shared Postgres, started by the first test that needs it.
pub(crate) struct Postgres {
    url: String,
    /// Copying files beats copying blocks through the log fivefold; Postgres 14 knows no other way, and no word for it.
    copying: &'static str,
    /// Databases are copied one at a time: Postgres refuses to copy a template that is in use.
    copier: Mutex<PgConnection>,
    /// Held for as long as the process lives, see [`Supervisor`]. None for a Postgres that was there before us.
    _supervisor: Option<Supervisor>,
}

/// The shared Postgres.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start)
}

impl Postgres {
    fn start() -> Self {
        let (url, supervisor) = given_or_private();
        let mut copier = wait(connect(&url));
        let copying = if wait(version(&mut copier)) < 15 { "" } else { "strategy file_copy" };
        let copier = Mutex::new(copier);
        let postgres = Self { url, copying, copier, _supervisor: supervisor };
        postgres.prepare_template();
        postgres
    }

    /// Where a database of this Postgres is.
    pub(crate) fn url_of(&self, database: &str) -> String {
        let (base, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (server, _) = base.rsplit_once('/').expect("the URL names a database");
        format!("{server}/{database}?{query}")
    }

    /// A fresh copy of the migrated template.
    pub(crate) async fn create(&self, database: &str) {
        let statement = format!("create database {database} template {TEMPLATE} {}", self.copying);
        run(&self.copier, &statement).await;
    }

    /// Removes a database, whoever is still connected to it. On a connection of its own, since it waits for them to
    /// leave, and nobody else should.
    pub(crate) async fn remove(&self, database: &str) {
        let statement = format!("drop database if exists {database} with (force)");
        connect(&self.url).await.execute(statement.as_str()).await.expect(&statement);
    }

    /// Migrates once, and starts the service once, so that what it loads at its first start is copied, too.
    fn prepare_template(&self) {
        wait(self.remove(TEMPLATE));
        wait(run(&self.copier, &format!("create database {TEMPLATE}")));
        let url = self.url_of(TEMPLATE);
        wait(migrate(&url));
        let data_dir = TempDir::new().unwrap();
        let signing = SigningSettings { data_dir: data_dir.path().to_owned(), key: None };
        drop(Server::start(&url, signing, std::time::Duration::ZERO));
        let rest =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{TEMPLATE}'");
        wait(run(&self.copier, &rest));
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("Postgres accepts connections")
}

async fn run(connection: &Mutex<PgConnection>, statement: &str) {
    connection.lock().await.execute(statement).await.expect(statement);
}

/// The major version of the server.
async fn version(connection: &mut PgConnection) -> i32 {
    let query = "select current_setting('server_version_num')::int / 10000";
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

/// `IDENTITYD_TEST_DATABASE_URL` names a Postgres whose user may create databases; its template is rebuilt by every
/// run, so two runs cannot share one. Without the variable there is a private Postgres.
fn given_or_private() -> (String, Option<Supervisor>) {
    if let Some(url) = std::env::var_os("IDENTITYD_TEST_DATABASE_URL") {
        return (url.into_string().expect("IDENTITYD_TEST_DATABASE_URL is UTF-8"), None);
    }
    let supervisor = Supervisor::start();
    (supervisor.url(), Some(supervisor))
}

/// Reads the folder at run time, so that a new migration needs no recompilation of the tests.
async fn migrate(url: &str) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations"));
    let migrator = Migrator::new(folder).await.expect("the migrations can be read");
    let mut connection = PgConnectOptions::from_str(url).unwrap().connect().await.unwrap();
    migrator.run(&mut connection).await.expect("the migrations succeed");
    connection.close().await.unwrap();
}
