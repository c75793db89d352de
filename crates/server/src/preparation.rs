//! Work that must be done before the service answers: read models that are missing or of an older version are rebuilt
//! from the log. Those without which it can answer are rebuilt afterwards.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use identity_http::Preparation;
use identity_log::primary::Primary;
use identity_log::{connect_options, is_outage};
use identity_projections::rebuild::{self, JobError, Phase, Progress, Settings};
use identity_projections::{Table, registry, tables};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;

/// The wait before the next attempt, after a rebuild failed or while another process does it.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How often the log says how far a rebuild is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The first read model whose table is missing, or of an older version than this software's, or of no known one. Only tables are
/// looked at whose `is_needed()` equals `needed`.
pub(crate) async fn outdated(pool: &PgPool, needed: bool) -> Result<Option<Arc<dyn Table>>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let tables = tables();
    let known: Vec<&dyn Table> = tables.iter().map(AsRef::as_ref).collect();
    registry::register(&mut connection, &known).await?;
    let entries = registry::list(&mut *connection).await?;
    let version = |table: &dyn Table| {
        let entry = entries.iter().find(|entry| entry.is_there && entry.name == table.name());
        entry.map_or(0, |entry| entry.version)
    };
    let mut of_these = tables.into_iter().filter(|table| table.is_needed() == needed);
    Ok(of_these.find(|table| version(table.as_ref()) < table.version()))
}

/// The announcement of a rebuild that has not begun.
pub(crate) fn announced(table: &dyn Table) -> Preparation {
    preparation(table, "waiting".to_owned(), 0, 0)
}

fn preparation(table: &dyn Table, phase: String, done: u64, total: u64) -> Preparation {
    Preparation { read_model: table.name(), phase, done, total }
}

/// Rebuilds read models until none is outdated, or until `stop`. `told` announces the rebuilds that requests wait for, and their
/// end; it has the first announcement already. Read models without which requests can be answered are rebuilt last, while
/// requests are answered. If another process rebuilds a read model, this waits. A rebuild that fails is tried again; if Postgres
/// had too few connections, with half as many workers.
pub(crate) async fn run(
    pool: PgPool,
    primary: Primary,
    mut workers: usize,
    told: watch::Sender<Option<Preparation>>,
    mut stop: watch::Receiver<bool>,
) {
    if told.borrow().is_none() {
        tracing::info!("ready");
    }
    while !*stop.borrow() {
        let attempt = attempt(&pool, &mut workers, &told, stop.clone());
        match primary.unless_silent(attempt).await {
            Ok(Attempt::NothingToDo) => return,
            Ok(Attempt::Succeeded) => {}
            Ok(Attempt::Failed) => rest(&mut stop).await,
            Err(silent) => {
                tracing::error!(error = &silent as &dyn Error, "read models are not rebuilt yet");
                rest(&mut stop).await;
            }
        }
    }
}

/// What an attempt came to.
enum Attempt {
    /// No read model is outdated.
    NothingToDo,
    /// A read model was rebuilt, or the service has become ready.
    Succeeded,
    /// It is to be tried again.
    Failed,
}

/// Rebuilds one read model, if one is outdated.
async fn attempt(
    pool: &PgPool,
    workers: &mut usize,
    told: &watch::Sender<Option<Preparation>>,
    stop: watch::Receiver<bool>,
) -> Attempt {
    let is_ready = told.borrow().is_none();
    let table = match outdated(pool, !is_ready).await {
        Ok(Some(table)) => table,
        Ok(None) if is_ready => return Attempt::NothingToDo,
        Ok(None) => {
            told.send_replace(None);
            tracing::info!("ready");
            return Attempt::Succeeded;
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "cannot look up the read models");
            return Attempt::Failed;
        }
    };
    // Once the service is ready, requests are answered meanwhile.
    let workers_now = if is_ready { 1 } else { *workers };
    let Err(error) = prepare(&connect_options(pool), &table, workers_now, told, stop).await else {
        return Attempt::Succeeded;
    };
    if is_short_of_connections(&error) {
        *workers = (*workers / 2).max(1);
    }
    say_failed(table.as_ref(), &error, told);
    Attempt::Failed
}

/// Announces what requests wait for.
fn announce(
    table: &dyn Table,
    told: &watch::Sender<Option<Preparation>>,
    phase: String,
    done: u64,
    total: u64,
) {
    if table.is_needed() {
        told.send_replace(Some(preparation(table, phase, done, total)));
    }
}

/// Whether Postgres refused a connection because there were too many.
fn is_short_of_connections(error: &JobError) -> bool {
    let code = of_database(error).and_then(|error| error.as_database_error()?.code());
    code.is_some_and(|code| code == "53300")
}

/// The error of the database with which a job failed, if there is one.
fn of_database(error: &JobError) -> Option<&sqlx::Error> {
    let mut chain = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    chain.find_map(|error| error.downcast_ref())
}

async fn rest(stop: &mut watch::Receiver<bool>) {
    // This also ends when the service is told to stop.
    drop(tokio::time::timeout(RETRY_INTERVAL, stop.wait_for(|stop| *stop)).await);
}

fn say_failed(table: &dyn Table, error: &JobError, told: &watch::Sender<Option<Preparation>>) {
    let name = table.name();
    let phase = match error {
        JobError::Interrupted => return,
        JobError::Held(holder) => {
            tracing::info!(read_model = name, holder, "waiting for the rebuild of another process");
            format!("waiting for {holder}")
        }
        error => {
            tracing::error!(error = error as &dyn Error, read_model = name, "rebuild failed");
            "failed, about to be tried again".to_owned()
        }
    };
    announce(table, told, phase, 0, 0);
}

async fn prepare(
    options: &PgConnectOptions,
    table: &Arc<dyn Table>,
    workers: usize,
    told: &watch::Sender<Option<Preparation>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), JobError> {
    let name = table.name();
    if make_ready_table_live(options, table.as_ref(), stop.clone()).await? {
        return Ok(());
    }
    tracing::info!(
        read_model = name,
        version = table.version(),
        "rebuilding a read model that is older or missing"
    );
    let (progress, seen) = watch::channel(Progress { phase: Phase::Fold, done: 0, total: 0 });
    let settings = Settings { workers, cut_over: true };
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    let report = tokio::select! {
        report = rebuild::rebuild_until(options, Arc::clone(table), settings, &progress, stopped) => report?,
        never = pass_on(table.as_ref(), seen, told) => match never {},
    };
    let (rows, events) = (report.rows, report.events);
    tracing::info!(read_model = name, rows, events, "rebuilt");
    Ok(())
}

/// Makes the table live that an earlier job left ready. Returns whether there was one.
async fn make_ready_table_live(
    options: &PgConnectOptions,
    table: &dyn Table,
    mut stop: watch::Receiver<bool>,
) -> Result<bool, JobError> {
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    match rebuild::cut_over_until(options, table, stopped).await {
        Ok((position, _)) => {
            tracing::info!(read_model = table.name(), position, "a table that was ready is live");
            Ok(true)
        }
        Err(JobError::NothingReady) => Ok(false),
        // A table that cannot be caught up, since something is wrong with it, is built anew.
        Err(error @ (JobError::Row(_) | JobError::CatchUp(_)))
            if !of_database(&error).is_some_and(is_outage) =>
        {
            tracing::warn!(
                error = &error as &dyn Error,
                read_model = table.name(),
                "a ready table is no good"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Announces the progress of a rebuild, until it is cancelled.
async fn pass_on(
    table: &dyn Table,
    mut seen: watch::Receiver<Progress>,
    told: &watch::Sender<Option<Preparation>>,
) -> std::convert::Infallible {
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    loop {
        tokio::select! {
            changed = seen.changed() => {
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
                let Progress { phase, done, total } = *seen.borrow_and_update();
                announce(table, told, phase.as_str().to_owned(), done, total);
            }
            _ = reports.tick() => {
                let Progress { phase, done, total } = *seen.borrow();
                tracing::info!(read_model = table.name(), phase = phase.as_str(), done, total, "rebuilding");
            }
        }
    }
}
