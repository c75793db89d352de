//! The database of one command: a private Postgres or a given one, open for as long as the command runs.

mod silence;
mod url;

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use identity_postgres::PrivatePostgres;
use identity_postgres::stop::Stop;
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::task::spawn_blocking;

use crate::doctor;
use crate::fictional_numbers;
use crate::migrations;
use crate::roles;
use crate::settings::{DatabaseSettings, PostgresSettings, Urls};
use silence::Watch;

pub use url::options;

/// How long a database may take to answer before a command gives up on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the database may leave the question of the watch without an answer while a command works. A statement of the command may
/// take longer, since the question is asked over another connection.
pub const MAX_SILENCE: Duration = Duration::from_secs(12);

/// How long the pool may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A command needs one connection at a time; the second is for functions that take one of their own, and for the second reader.
const COMMAND_CONNECTIONS: u32 = 2;

/// How often a private Postgres is looked after.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An open database.
#[derive(Debug)]
pub struct Database {
    settings: DatabaseSettings,
    urls: Urls,
    pool: PgPool,
    watch: Watch,
    private: Option<PrivatePostgres>,
    stop: Stop,
}

/// What a command does if the data directory has no private Postgres yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// Make one.
    Create,
    /// Say that there is none. In the wrong folder, a command must not report of a new and empty database.
    Refuse,
}

impl Database {
    /// Connects to the database. Without a database URL, attaches to the private Postgres and starts it if need be. Gives
    /// up when the process is told to stop, and stops the private Postgres then, unless another process uses it.
    pub async fn open(
        settings: &DatabaseSettings,
        if_missing: IfMissing,
        mut stop: Stop,
    ) -> anyhow::Result<Self> {
        let (urls, private) = match settings.clone() {
            DatabaseSettings::Url(urls) => (urls, None),
            DatabaseSettings::Private(data_dir) => {
                if if_missing == IfMissing::Refuse {
                    refuse_missing(&data_dir)?;
                }
                let private = open_private(&data_dir, stop.clone()).await?;
                let (service, owner) = (private.service_url().into(), Some(private.url().into()));
                (Urls { service, owner }, Some(private))
            }
        };
        let connecting = async {
            match &private {
                Some(_) => connect_to_private(&urls).await,
                None => connect(&urls.service).await,
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = stop.told() => Err(anyhow!("told to stop while connecting to Postgres")),
        };
        match (connected, private) {
            (Ok((watch, pool)), private) => {
                Ok(Self { settings: settings.clone(), urls, pool, watch, private, stop })
            }
            (Err(error), Some(private)) => spawn_blocking(|| private.close()).await?.and(Err(error)),
            (Err(error), None) => Err(error),
        }
    }

    /// Does some work, unless the database answers nothing for `limit` meanwhile. A statement may take longer than that.
    pub async fn unless_silent<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let done = self.watch.unless_silent(limit, work).await;
        done.context(
            "given up, and what was being written may have been written or not: look before you repeat it",
        )?
    }

    /// Restarts the private Postgres whenever it has ended. Never returns. A Postgres given by URL is not restarted.
    pub async fn look_after(&self) -> Infallible {
        let DatabaseSettings::Private(data_dir) = &self.settings else {
            self.watch.close().await;
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            // The pool would try to connect for as long as a start may take.
            let answers = tokio::time::timeout(CONNECT_TIMEOUT, self.watch.answers()).await;
            if !answers.unwrap_or(false)
                && let Err(error) = start_again(data_dir, self.stop.clone()).await
            {
                tracing::error!(error = format!("{error:#}"), "the private Postgres does not start");
            }
        }
    }

    /// The URLs of the database, for code that opens connections of its own.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// The connection pool.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Connections of the role that owns the tables, which may be the same role.
    pub async fn owner(&self) -> anyhow::Result<PgPool> {
        match &self.urls.owner {
            Some(url) => connect_as_owner(url).await,
            None => Ok(self.pool.clone()),
        }
    }

    /// Brings the database up to date, unless it is one that cannot be served.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        migrate(&self.pool, self.urls.owner.as_ref()).await
    }

    /// The same for commands that work on what is there: a database without any of our tables is left as it is.
    pub async fn migrate_if_begun(&self) -> anyhow::Result<()> {
        if let Some(url) = &self.urls.owner
            && !serves_already(&self.pool).await
        {
            as_owner(url, async |owner| {
                let role = roles::role_to_serve(&self.pool, owner).await?;
                migrations::run_if_begun(owner).await?;
                hand_over(owner, &self.pool, &role).await
            })
            .await?;
        }
        migrations::run_if_begun(&self.pool).await
    }

    /// Fails if the role that serves and the owner do not belong together. There is nothing to check if one role is both.
    pub async fn check_roles(&self) -> anyhow::Result<()> {
        match &self.urls.owner {
            Some(url) => {
                as_owner(url, async |owner| roles::role_to_serve(&self.pool, owner).await.map(drop)).await
            }
            None => Ok(()),
        }
    }

    /// Gives the role that serves what it needs, if another one owns the tables.
    pub async fn grant(&self) -> anyhow::Result<()> {
        match &self.urls.owner {
            Some(url) => {
                as_owner(url, async |owner| {
                    let role = roles::role_to_serve(&self.pool, owner).await?;
                    hand_over(owner, &self.pool, &role).await
                })
                .await
            }
            None => Ok(()),
        }
    }

    /// Ends the connections, and stops the private Postgres if nobody else uses it.
    pub async fn close(self) -> anyhow::Result<()> {
        // A statement that was given up may still wait for a lock of another session. Its connection ends with this process
        // or with the server.
        if tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::debug!("a connection is still busy and is left to itself");
        }
        self.watch.close().await;
        match self.private {
            Some(private) => spawn_blocking(|| private.close()).await?,
            None => Ok(()),
        }
    }
}

/// Opening a private Postgres starts it if it does not run.
async fn start_again(data_dir: &Path, stop: Stop) -> anyhow::Result<()> {
    let data_dir = data_dir.to_owned();
    spawn_blocking(move || PrivatePostgres::open_until(&data_dir, stop)?.close()).await?
}

async fn open_private(data_dir: &Path, stop: Stop) -> anyhow::Result<PrivatePostgres> {
    let data_dir = data_dir.to_owned();
    spawn_blocking(move || PrivatePostgres::open_until(&data_dir, stop)).await?
}

/// Fails if this data directory has no private Postgres.
pub fn refuse_missing(data_dir: &Path) -> anyhow::Result<()> {
    ensure!(
        !PrivatePostgres::is_missing(data_dir),
        "there is no database in {}: name the folder of one with --data-dir, or its URL with --database-url; \
         `identityd serve`, `migrate` and `org create` make a new one",
        data_dir.display()
    );
    Ok(())
}

/// Brings a database up to date, unless it is one that cannot be served. The owner does so if there is one; it is not asked if
/// nothing is to be done.
pub async fn migrate(pool: &PgPool, owner_url: Option<&SecretString>) -> anyhow::Result<()> {
    if let Some(url) = owner_url
        && !serves_already(pool).await
    {
        as_owner(url, async |owner| {
            doctor::refuse_pooler(pool).await?;
            let role = roles::role_to_serve(pool, owner).await?;
            doctor::refuse_unusable(owner).await?;
            migrations::run(owner).await?;
            hand_over(owner, pool, &role).await
        })
        .await?;
    }
    doctor::refuse_unusable(pool).await?;
    migrations::run(pool).await
}

/// Does some work on connections of the owner.
async fn as_owner<T>(
    url: &SecretString,
    work: impl AsyncFnOnce(&PgPool) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let owner = connect_as_owner(url).await?;
    let outcome = work(&owner).await;
    owner.close().await;
    outcome
}

/// Gives the role of `pool` what it needs to serve, and says what it could do besides, which only an operator can change.
async fn hand_over(owner: &PgPool, pool: &PgPool, role: &str) -> anyhow::Result<()> {
    roles::rights::grant(owner, role).await?;
    let mut connection = pool.acquire().await.context("cannot connect to the database")?;
    for power in roles::powers::powers(&mut connection).await? {
        tracing::warn!(
            "the role {role} {power}, so it could change what protects the history: see `identityd doctor`"
        );
    }
    Ok(())
}

/// Whether the role owns nothing, has exactly the rights that it needs, and finds the database up to date. Where this cannot be
/// found out, the owner tells why.
async fn serves_already(pool: &PgPool) -> bool {
    let look = async {
        let mut connection = pool.acquire().await?;
        let standing = roles::standing(&mut connection).await?;
        let is_ready = !standing.may_migrate
            && roles::openings::open(&mut connection, &standing.role).await?.is_empty()
            && roles::openings::of_shapes(&mut connection, &standing.role).await?.is_empty()
            && roles::rights::are_granted(&mut connection, &standing.role).await?
            && migrations::is_up_to_date(&mut connection).await?;
        anyhow::Ok(is_ready)
    };
    look.await.unwrap_or(false)
}

/// Makes a database ready to serve: migrated, and with numbers to hand out. One that cannot be served is refused.
pub async fn prepare(
    pool: &PgPool,
    owner_url: Option<&SecretString>,
    settings: PostgresSettings,
) -> anyhow::Result<()> {
    migrate(pool, owner_url).await?;
    doctor::refuse_incomplete(pool).await?;
    doctor::warn_of_few_connections(pool, settings).await?;
    fictional_numbers::load_into_empty_pool(pool).await
}

/// Connects to a private Postgres as the role that serves, which is made if an earlier version made the data directory, or if
/// this is the first start.
async fn connect_to_private(urls: &Urls) -> anyhow::Result<(Watch, PgPool)> {
    let no_such_role = "28000";
    match connect(&urls.service).await {
        Err(error) if sql_state(&error).as_deref() == Some(no_such_role) => {}
        connected => return connected,
    }
    if let Some(url) = &urls.owner {
        let role = options(&urls.service)?.get_username().to_owned();
        let making = as_owner(url, async |owner| roles::make(owner, &role).await);
        let made = tokio::time::timeout(CONNECT_TIMEOUT, making).await;
        made.context("no answer").flatten().context("cannot make the role that serves")?;
    }
    connect(&urls.service).await
}

/// The code with which Postgres failed, if it did.
fn sql_state(error: &anyhow::Error) -> Option<String> {
    let error = error.chain().find_map(|error| error.downcast_ref::<sqlx::Error>())?;
    Some(error.as_database_error()?.code()?.into_owned())
}

async fn connect_as_owner(url: &SecretString) -> anyhow::Result<PgPool> {
    let (watch, owner) = connect(url).await.context("cannot connect as the owner")?;
    watch.close().await;
    Ok(owner)
}

/// Connects once before there is a pool, because a pool would not tell why it cannot connect. The watch keeps this connection, and
/// asks over it whether the database still answers.
async fn connect(url: &SecretString) -> anyhow::Result<(Watch, PgPool)> {
    let options = options(url)?;
    let address = format!("cannot connect to Postgres at {}:{}", options.get_host(), options.get_port());
    let options = options.log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options));
    let connected = connecting.await.context("no answer").and_then(|connected| {
        connected.map_err(|error| match doctor::pooler::explain(&error) {
            Some(advice) => anyhow!(advice),
            None => error.into(),
        })
    });
    let watch = Watch::over(connected.context(address)?, options.clone());
    let pool = PgPoolOptions::new().max_connections(COMMAND_CONNECTIONS).acquire_timeout(CONNECT_TIMEOUT);
    Ok((watch, pool.test_before_acquire(false).connect_lazy_with(options)))
}
