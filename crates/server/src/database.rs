//! The database of one command: a private Postgres or a given one, open for as long as the command runs.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::task::spawn_blocking;

use crate::fictional_numbers;
use crate::migrations;
use crate::private_postgres::PrivatePostgres;
use crate::settings::DatabaseSettings;

/// How long a database may take to answer before a command gives up on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long connections are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// A command works on one thing after the other; the second connection is for whoever it calls.
const CONNECTIONS: u32 = 2;

/// How often a private Postgres is looked after.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An open database.
#[derive(Debug)]
pub struct Database {
    settings: DatabaseSettings,
    url: SecretString,
    pool: PgPool,
    private: Option<PrivatePostgres>,
}

impl Database {
    /// Attaches to the database, and starts the private Postgres where that is the one.
    pub async fn open(settings: &DatabaseSettings) -> anyhow::Result<Self> {
        let (url, private) = match settings.clone() {
            DatabaseSettings::Url(url) => (url, None),
            DatabaseSettings::Private(data_dir) => {
                let private = spawn_blocking(move || PrivatePostgres::open(&data_dir)).await??;
                (SecretString::from(private.url()), Some(private))
            }
        };
        let pool = connect(&url).await?;
        Ok(Self { settings: settings.clone(), url, pool, private })
    }

    /// Starts the private Postgres again whenever it has ended under us. Never returns; a given Postgres has somebody
    /// else who looks after it.
    pub async fn look_after(&self) -> Infallible {
        let DatabaseSettings::Private(data_dir) = &self.settings else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if sqlx::query("select 1").execute(&self.pool).await.is_err()
                && let Err(error) = start_again(data_dir).await
            {
                tracing::error!(error = format!("{error:#}"), "the private Postgres does not start");
            }
        }
    }

    /// Where it is, for those who connect on their own.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// Connections to it.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Ends the connections, and stops the private Postgres if nobody else uses it.
    pub async fn close(self) -> anyhow::Result<()> {
        // A statement that was given up on may wait for somebody's lock for as long as that is held. Its connection ends
        // with this process, or with the server.
        if tokio::time::timeout(FAREWELL, self.pool.close()).await.is_err() {
            tracing::debug!("a connection is still busy and is left to itself");
        }
        match self.private {
            Some(private) => spawn_blocking(|| private.close()).await?,
            None => Ok(()),
        }
    }
}

/// Whoever opens a private Postgres starts it, if it does not run.
async fn start_again(data_dir: &Path) -> anyhow::Result<()> {
    let data_dir = data_dir.to_owned();
    spawn_blocking(move || PrivatePostgres::open(&data_dir)?.close()).await?
}

/// Makes a database ready to serve: migrated, and with numbers to hand out.
pub async fn prepare(pool: &PgPool) -> anyhow::Result<()> {
    migrations::run(pool).await?;
    fictional_numbers::load_into_empty_pool(pool).await
}

/// Connects once before there is a pool, because a pool would keep the reason of a failure to itself.
async fn connect(url: &SecretString) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.expose_secret().parse().context("the database URL is not valid")?;
    let address = format!("cannot connect to Postgres at {}:{}", options.get_host(), options.get_port());
    let options = options.log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
    let connecting = tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options));
    let connection =
        connecting.await.context("no answer").and_then(|connected| Ok(connected?)).context(address)?;
    connection.close().await?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
    Ok(pool.test_before_acquire(false).connect_lazy_with(options))
}
