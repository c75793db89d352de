//! The one Postgres that all tests of this process share, and the template databases that are copied for the tests.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use identity_proof::SigningKey;
use identityd::signing::SigningSettings;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgPool};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::server::Server;
use super::supervisor::Supervisor;
use super::wait;
use super::world::Organization;

/// A template database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Template {
    /// Migrated, and the service was started on it once. Its log is empty.
    Empty,
    /// The same with the organization that most tests use.
    Home,
}

impl Template {
    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "identityd_test_template",
            Self::Home => "identityd_test_home",
        }
    }
}

/// The role of the services, which owns nothing.
const SERVICE: &str = "identityd_test_service";

/// How many databases are removed at the same time.
const LEAVING: u32 = 4;

/// A Postgres of tests. The shared one is started by the first test that needs it.
#[derive(Debug)]
pub(crate) struct Postgres {
    url: String,
    /// The option of `create database` for copying files, which is five times as fast as copying blocks through the WAL.
    /// Postgres 14 always copies files and does not know the option.
    copying: &'static str,
    /// Databases are copied one at a time: Postgres refuses to copy a template that is in use.
    copier: Mutex<PgConnection>,
    /// Databases are removed on other connections, since a removal waits until all sessions on the database have ended.
    remover: PgPool,
    /// The organization in [`Template::Home`].
    home: OnceLock<Organization>,
    /// Kept until the process ends, see [`Supervisor`]. `None` for a Postgres that somebody else started.
    _supervisor: Option<Supervisor>,
}

/// The shared Postgres.
pub(crate) fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| {
        let (url, supervisor) = given_or_private();
        Postgres::prepare(url, supervisor)
    })
}

impl Postgres {
    /// A Postgres beside the shared one.
    pub(crate) fn private() -> Self {
        let supervisor = Supervisor::start();
        Self::prepare(supervisor.url(), Some(supervisor))
    }

    fn prepare(url: String, supervisor: Option<Supervisor>) -> Self {
        let mut copier = wait(connect(&url));
        let copying = if wait(version(&mut copier)) < 15 { "" } else { "strategy file_copy" };
        let copier = Mutex::new(copier);
        let remover = wait(PgPoolOptions::new().max_connections(LEAVING).connect(&url)).unwrap();
        let home = OnceLock::new();
        let postgres = Self { url, copying, copier, remover, home, _supervisor: supervisor };
        postgres.prepare_templates();
        postgres
    }

    /// The organization in [`Template::Home`].
    pub(crate) fn home(&self) -> Organization {
        self.home.get().expect("the templates are prepared").clone()
    }

    /// The URL of a database of this Postgres for a service.
    pub(crate) fn service_url_of(&self, database: &str) -> String {
        let url = self.url_of(database);
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let (authority, path) = rest.split_once('/').expect("the URL names a database");
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        format!("{scheme}://{SERVICE}:{SERVICE}@{host}/{path}")
    }

    /// The URL of a database of this Postgres for the owner of its tables.
    pub(crate) fn url_of(&self, database: &str) -> String {
        let (base, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (server, _) = base.rsplit_once('/').expect("the URL names a database");
        format!("{server}/{database}?{query}")
    }

    /// Creates a copy of a template.
    pub(crate) async fn create(&self, database: &str, template: Template) {
        let statement = format!("create database {database} template {} {}", template.name(), self.copying);
        run(&self.copier, &statement).await;
    }

    /// Removes a database, even if sessions are connected to it.
    pub(crate) async fn remove(&self, database: &str) {
        let statement = format!("drop database if exists {database} with (force)");
        self.remover.execute(statement.as_str()).await.expect(&statement);
    }

    /// Migrates once, and starts the service once, so that the rows of its first start and the rights of its role are copied, too.
    /// Creates the organization while no service runs, so its history is not signed.
    fn prepare_templates(&self) {
        let (empty, home) = (Template::Empty.name(), Template::Home.name());
        wait(self.remove(home));
        wait(self.remove(empty));
        wait(run(&self.copier, MAKE_SERVICE));
        wait(run(&self.copier, &format!("create database {empty}")));
        let url = self.url_of(empty);
        wait(close(&url));
        wait(migrate(&url));
        let data_dir = data_dir();
        let signing = SigningSettings { data_dir: data_dir.path().to_owned(), key: None, etcd: None };
        drop(Server::of_two_roles(&self.service_url_of(empty), &url, signing.clone()));
        self.leave_alone(empty);
        wait(self.create(home, Template::Empty));
        let pool = wait(PgPool::connect(&self.url_of(home))).unwrap();
        self.home.get_or_init(|| Organization::create(&pool, signing, "home"));
        wait(pool.close());
        self.leave_alone(home);
    }

    /// Ends all sessions on a template: Postgres does not copy a database that is in use.
    fn leave_alone(&self, template: &str) {
        let rest =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{template}'");
        wait(run(&self.copier, &rest));
    }
}

/// A data directory with the signing key of the templates, which sealed the history of the organization.
pub(super) fn data_dir() -> TempDir {
    let data_dir = TempDir::new().unwrap();
    write_signing_key(data_dir.path());
    data_dir
}

/// Writes the signing key of the templates into a data directory.
pub(crate) fn write_signing_key(data_dir: &Path) {
    let folder = data_dir.join("signing");
    DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("key")).unwrap();
    writeln!(file, "{}", SigningKey::from_seed(&[7; 32]).expose()).unwrap();
}

/// Makes the role of the services, unless an earlier run has done so.
const MAKE_SERVICE: &str = "
    do $$
    begin
        create role identityd_test_service login password 'identityd_test_service';
    exception
        when duplicate_object then null;
    end
    $$";

/// Up to Postgres 14 everybody may make functions in a new database.
async fn close(url: &str) {
    connect(url).await.execute("revoke create on schema public from public").await.unwrap();
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

/// The Postgres of `IDENTITYD_TEST_DATABASE_URL`, whose user may create databases, or a private Postgres without that
/// variable. Every run rebuilds the templates, so two runs cannot share one Postgres.
#[expect(clippy::disallowed_methods, reason = "a setting of the tests, and not of the service")]
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
