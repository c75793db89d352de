//! Whether the service answers yet, and what it does until then.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity_log::primary::{self, Primary, Role};
use identity_log::{AppendError, Log};
use identity_projections::tables;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::{Mutex, watch};

/// The rebuild for which requests have to wait; `None` once the service is ready.
pub type Readiness = watch::Receiver<Option<Preparation>>;

/// The rebuild of a read model whose table is missing or of an older version than the software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// The read model.
    pub read_model: &'static str,
    /// The phase of the rebuild.
    pub phase: String,
    /// Events that were read.
    pub done: u64,
    /// Events that are to be read.
    pub total: u64,
}

impl Display for Preparation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read_model, phase, done, total } = self;
        write!(formatter, "rebuilding read model {read_model}: {phase}, {done} of {total} events")
    }
}

/// How often the probe tries at most what requests need: to connect, and to write and commit something.
const TRIAL_INTERVAL: Duration = Duration::from_secs(1);

/// How often something is written over a new session at most, unless the last probe has failed.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

/// How long the database may take to answer the probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the probe waits for a connection that requests have not taken, before it opens one of its own.
const FREE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// A right that the role of the service needs: a table with its schema, and the privilege as SQL names it.
pub type NeededRight = (String, &'static str);

/// Why nothing can be served at present.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NotReady {
    /// The database did not answer, or with an error.
    #[error("the database does not answer as it should")]
    Database(#[source] Arc<sqlx::Error>),
    /// A pool cannot connect.
    #[error("requests get no connection to the database")]
    NoConnection(#[source] Arc<sqlx::Error>),
    /// The database took too long.
    #[error("the database does not answer within {PROBE_TIMEOUT:?}")]
    Timeout,
    /// Commits wait for a standby, and no commit was confirmed for longer than the time limit.
    #[error("no standby confirms commits: this may not be the primary any more")]
    Unconfirmed,
    /// The database answers, but requests would fail. The text says why.
    #[error("{0}")]
    Unusable(String),
    /// Events cannot be written.
    #[error("events cannot be written")]
    Unwritable(#[source] AppendError),
    /// The committer of this process has ended, which only a defect can cause.
    #[error("the committer of this process has ended")]
    NoCommitter,
}

/// What the probe needs to know of the service.
#[derive(Debug)]
pub(crate) struct Probed<'a> {
    /// The connection of the probe.
    pub(crate) own_pool: &'a PgPool,
    /// The pools that requests use.
    pub(crate) pools: [&'a PgPool; 2],
    /// What the role of the service has to be allowed.
    pub(crate) rights: &'a [NeededRight],
    pub(crate) primary: &'a Primary,
    pub(crate) log: &'a Log,
}

/// Asks the database whether it answers, lets requests connect and read, takes writes, commits them, and has all tables as events
/// need them. One query at a time: all probes that arrive while it runs are answered by the next one.
#[derive(Debug, Default)]
pub(crate) struct Probe(Mutex<Option<LastProbe>>);

#[derive(Debug)]
struct LastProbe {
    asked: Instant,
    outcome: Result<(), NotReady>,
    /// When everything that is not tried by each probe was last tried, and succeeded.
    tried: Option<Instant>,
    /// When that was last tried over a new session, and every probe since has succeeded.
    renewed: Option<Instant>,
}

impl Probe {
    /// Asks the database. The answer is of a moment after this call.
    pub(crate) async fn ask(&self, probed: Probed<'_>) -> Result<(), NotReady> {
        let Probed { own_pool, pools, rights, primary, log } = probed;
        let called = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(LastProbe { outcome, .. }) = last.as_ref().filter(|last| last.asked >= called) {
            return outcome.clone();
        }
        let asked = Instant::now();
        let tried = last.as_ref().and_then(|last| last.tried);
        let tried = tried.filter(|moment| moment.elapsed() < TRIAL_INTERVAL);
        let renewed = last.as_ref().and_then(|last| last.renewed);
        let renewed = renewed.filter(|moment| moment.elapsed() < RENEWAL_INTERVAL);
        let (is_due, is_renewal_due) = (tried.is_none(), renewed.is_none());
        let probe = async {
            primary.answers().await;
            if is_due {
                must_have_rights(own_pool, rights).await?;
                let connect = |pool| must_connect(pool, own_pool);
                tokio::try_join!(connect(pools[0]), connect(pools[1]))?;
            }
            look(own_pool).await?;
            if is_due {
                must_write(own_pool, log, is_renewal_due).await?;
            }
            must_commit(own_pool, primary, is_due).await
        };
        let outcome = tokio::time::timeout(PROBE_TIMEOUT, probe).await.unwrap_or(Err(NotReady::Timeout));
        let tried = tried.or(outcome.is_ok().then_some(asked));
        let renewed = renewed.or(is_due.then_some(asked)).filter(|_| outcome.is_ok());
        *last = Some(LastProbe { asked, outcome: outcome.clone(), tried, renewed });
        outcome
    }
}

/// Checks that the role of the service has the rights that it needs, on tables that are there.
async fn must_have_rights(pool: &PgPool, rights: &[NeededRight]) -> Result<(), NotReady> {
    let (tables, privileges): (Vec<&str>, Vec<&str>) =
        rights.iter().map(|(table, privilege)| (table.as_str(), *privilege)).unzip();
    let lacking: Option<String> = sqlx::query_scalar(
        r"select privilege || ' on ' || name
          from unnest($1::text[], $2::text[]) with ordinality as needed (name, privilege, number)
          where not case when privilege like '%(%'
                         then has_column_privilege(to_regclass(name), substring(privilege from '\((.+)\)'), split_part(privilege, ' ', 1))
                         else has_table_privilege(to_regclass(name), privilege) end
          order by number
          limit 1",
    )
    .bind(tables)
    .bind(privileges)
    .fetch_optional(pool)
    .await
    .map_err(|error| NotReady::Database(Arc::new(error)))?;
    lacking.map_or(Ok(()), |right| {
        Err(NotReady::Unusable(format!("The role of the service has no right to {right}")))
    })
}

/// Checks that requests get connections of this pool. If none is free, they wait for those that are busy, and the probe opens one
/// beside the pool. That may be refused for want of room, if the pool has all that it may have.
async fn must_connect(pool: &PgPool, own_pool: &PgPool) -> Result<(), NotReady> {
    let no_connection = |error| NotReady::NoConnection(Arc::new(error));
    match tokio::time::timeout(FREE_CONNECTION_TIMEOUT, pool.acquire()).await {
        Ok(Ok(_connection)) => return Ok(()),
        Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => {}
        Ok(Err(error)) => return Err(no_connection(error)),
    }
    match PgConnection::connect_with(&pool.connect_options()).await {
        Ok(connection) => connection.close().await.map_err(no_connection),
        // Requests have all connections that the pool may have, so they are answered. If it may have more, some wait in vain for those.
        Err(error) if is_full(&error) && has_all(pool, own_pool).await? => Ok(()),
        Err(error) => Err(no_connection(error)),
    }
}

/// Whether the server has as many sessions of this pool as there may be. The pool also counts those that it tries to open. Sessions
/// of other processes cannot be told apart, so beside them this may be too good to be true.
async fn has_all(pool: &PgPool, own_pool: &PgPool) -> Result<bool, NotReady> {
    let query = "select count(*) from pg_stat_activity
                 where datname = current_database() and usename = current_user and application_name = $1";
    let sessions: i64 = sqlx::query_scalar(query)
        .bind(pool.connect_options().get_application_name())
        .fetch_one(own_pool)
        .await
        .map_err(|error| NotReady::Database(Arc::new(error)))?;
    Ok(sessions >= i64::from(pool.options().get_max_connections()))
}

/// Whether the server, the database or the role has no room for another connection.
fn is_full(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("53300"))
}

/// Checks that the database commits. If commits wait for a standby, `Primary` checks that all the time. Otherwise a
/// commit is tried here, if that `is_due`.
async fn must_commit(pool: &PgPool, primary: &Primary, is_due: bool) -> Result<(), NotReady> {
    if primary.may_be_stale() {
        return Err(NotReady::Unconfirmed);
    }
    if is_due && primary.role() == Role::Alone {
        let database = |error| NotReady::Database(Arc::new(error));
        let mut connection = pool.acquire().await.map_err(database)?;
        primary::commit_nothing(&mut connection).await.map_err(database)?;
    }
    Ok(())
}

/// Checks that events can be written, over a new session if there is room for one: a session that is there already may still be
/// allowed what new ones are not, and the committer gets a new one when it loses its own.
async fn must_write(pool: &PgPool, log: &Log, is_renewal_due: bool) -> Result<(), NotReady> {
    if !log.has_committer() {
        return Err(NotReady::NoCommitter);
    }
    if log.has_just_committed() {
        return Ok(());
    }
    let database = |error| NotReady::Database(Arc::new(error));
    if is_renewal_due {
        match PgConnection::connect_with(&pool.connect_options()).await {
            Ok(mut connection) => {
                log.try_write(&mut connection).await.map_err(NotReady::Unwritable)?;
                return connection.close().await.map_err(database);
            }
            Err(error) if is_full(&error) => {}
            Err(error) => return Err(database(error)),
        }
    }
    let mut connection = pool.acquire().await.map_err(database)?;
    log.try_write(&mut connection).await.map_err(NotReady::Unwritable)
}

async fn look(pool: &PgPool) -> Result<(), NotReady> {
    let names: Vec<&str> =
        tables().iter().filter(|table| table.is_needed()).map(|table| table.name()).collect();
    let (has_head, is_read_only, missing): (bool, bool, Vec<String>) = sqlx::query_as(
        "select exists (select from log_head),
                pg_is_in_recovery() or current_setting('transaction_read_only')::boolean,
                array(select name from unnest($1::text[]) as name where to_regclass('read_model.' || name) is null)",
    )
    .bind(names)
    .fetch_one(pool)
    .await
    .map_err(|error| NotReady::Database(Arc::new(error)))?;
    let unusable = |why: &str| Err(NotReady::Unusable(why.to_owned()));
    match missing.first() {
        _ if !has_head => unusable("The head of the log is missing from the database"),
        Some(table) => unusable(&format!("The read model {table} is missing from the database")),
        None if is_read_only => unusable("The database takes no writes at present"),
        None => Ok(()),
    }
}
