//! One rebuild job from beginning to end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity_log::count::EventCounts;
use identity_log::{read, session};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

use super::connection::Connector;
use super::cutover::{self, Generation, Reached};
use super::progress::{Phase, Progress, Report, Settings};
use super::{generation, workers};
use crate::job_error::JobError;
use crate::registry;
use crate::table::{Table, Totals};

/// How long writing the end of a job to the registry may take. It is skipped if the database is unavailable.
const NOTE_TIMEOUT: Duration = Duration::from_secs(2);

/// Rebuilds one read model, reports on `progress`, and writes to the registry how the job ended.
///
/// If `stop` completes first, the job ends with [`JobError::Interrupted`] and the live table is as it was. A commit
/// of the cut-over that has begun is not interrupted, so it is always known which table is live.
pub async fn rebuild_until(
    options: &PgConnectOptions,
    table: Arc<dyn Table>,
    settings: Settings,
    progress: &watch::Sender<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, JobError> {
    rebuild_counted(options, table, &mut EventCounts::default(), settings, progress, stop).await
}

/// The same. When several read models are rebuilt, `counts` goes from one job to the next, so that each event is counted once.
pub async fn rebuild_counted(
    options: &PgConnectOptions,
    table: Arc<dyn Table>,
    counts: &mut EventCounts,
    settings: Settings,
    progress: &watch::Sender<Progress>,
    stop: impl Future<Output = ()>,
) -> Result<Report, JobError> {
    let mut stop = std::pin::pin!(stop);
    let connector = Connector::new(options, &format!("rebuild of {}", table.name()), "read_model_next");
    let name = table.name();
    let mut job = tokio::select! {
        biased;
        () = stop.as_mut() => return Err(JobError::Interrupted),
        begun = Job::begin(&connector, table, counts, progress) => begun?,
    };
    let outcome = job.run(settings, stop.as_mut()).await;
    match &outcome {
        // The work is committed, so an error here changes nothing. The lock is released explicitly, because Postgres
        // takes a moment to notice that a connection was closed.
        Ok(_) => {
            drop(generation::unlock(&mut job.connection, name).await);
            drop(job.connection.close().await);
        }
        Err(error) => {
            drop(job.connection);
            let noting = note(&connector, name, error, *progress.borrow());
            drop(tokio::time::timeout(NOTE_TIMEOUT, noting).await);
        }
    }
    outcome
}

/// Notes how a job ended. This takes a connection of its own: that of the job may be in a statement, or broken.
async fn note(
    connector: &Connector,
    name: &str,
    error: &JobError,
    progress: Progress,
) -> Result<(), sqlx::Error> {
    let Progress { phase, done, total } = progress;
    let mut connection = connector.connect().await?;
    let word = if matches!(error, JobError::Interrupted) { "interrupted" } else { "failed" };
    let ended = format!("{word} in phase {}", phase.as_str());
    if matches!(error, JobError::Doubt(_)) {
        registry::note_unless_done(&mut connection, name, &ended).await?;
    } else {
        registry::note_progress(&mut connection, name, &ended, done, total).await?;
    }
    connection.close().await
}

/// A running job. Its connection has the lock of the read model, and does everything but the work of the workers.
struct Job<'a> {
    connector: Connector,
    connection: PgConnection,
    table: Arc<dyn Table>,
    counts: &'a mut EventCounts,
    progress: &'a watch::Sender<Progress>,
}

impl<'a> Job<'a> {
    /// Takes the lock of the read model. The error names who has it.
    async fn begin(
        connector: &Connector,
        table: Arc<dyn Table>,
        counts: &'a mut EventCounts,
        progress: &'a watch::Sender<Progress>,
    ) -> Result<Self, JobError> {
        let mut connection = connector.connect().await?;
        generation::lock(&mut connection, table.name()).await?;
        registry::register(&mut connection, &[table.as_ref()]).await?;
        Ok(Self { connector: connector.clone(), connection, table, counts, progress })
    }

    async fn run(
        &mut self,
        settings: Settings,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Report, JobError> {
        let (built, reached) = tokio::select! {
            biased;
            () = stop.as_mut() => return Err(JobError::Interrupted),
            built = self.build(settings.workers) => built?,
        };
        let mut report = Report {
            events: built.events + reached.events,
            rows: built.rows,
            position: reached.position,
            pause: None,
        };
        let next = Generation { version: self.table.version(), position: reached.position };
        registry::note_ready(&mut self.connection, self.table.name(), next.version, next.position).await?;
        if !settings.cut_over {
            self.enter(Phase::Ready).await?;
            return Ok(report);
        }
        self.enter(Phase::CutOver).await?;
        let swapped = cutover::go_live(&mut self.connection, self.table.as_ref(), next, stop).await?;
        report.events += swapped.events;
        report.position = swapped.position;
        report.pause = Some(swapped.pause);
        self.progress.send_modify(|progress| progress.phase = Phase::Done);
        Ok(report)
    }

    /// Does everything except the cut-over. Returns the totals of the first fold, and how far the table was caught up
    /// since.
    async fn build(&mut self, workers: usize) -> Result<(Totals, Reached), JobError> {
        let (built, position) = self.fold(workers).await?;
        self.enter(Phase::Index).await?;
        let comparing = compare(self.connector.clone(), self.table.clone(), built);
        tokio::try_join!(self.index(workers), comparing)?;
        generation::add_key(&mut self.connection, self.table.name()).await?;
        self.enter(Phase::CatchUp).await?;
        let reached = cutover::catch_up(&mut self.connection, self.table.as_ref(), position).await?;
        Ok((built, reached))
    }

    async fn enter(&mut self, phase: Phase) -> Result<(), JobError> {
        self.progress.send_modify(|progress| progress.phase = phase);
        let Progress { done, total, .. } = *self.progress.borrow();
        registry::note_progress(&mut self.connection, self.table.name(), phase.as_str(), done, total).await?;
        Ok(())
    }

    /// Folds the log up to its present head. Returns the totals and that position.
    async fn fold(&mut self, workers: usize) -> Result<(Totals, i64), JobError> {
        self.progress.send_replace(Progress { phase: Phase::Fold, done: 0, total: 0 });
        self.enter(Phase::Fold).await?;
        let position = read::head(&mut self.connection).await?;
        self.counts.advance(&mut self.connection, position).await?;
        let total = self.counts.of(&mut self.connection, self.table.selection()).await?;
        self.progress.send_replace(Progress { phase: Phase::Fold, done: 0, total });
        generation::begin(&mut self.connection, self.table.as_ref()).await?;
        let ranges = if total == 0 {
            vec![]
        } else {
            workers::ranges(&mut self.connection, self.table.selection(), position, total).await?
        };
        let counter = Arc::new(AtomicU64::new(0));
        let building =
            workers::build(self.connector.clone(), self.table.clone(), ranges, workers, counter.clone());
        let built = self.watched(building, &counter).await?;
        self.progress.send_modify(|progress| progress.done = built.events);
        if built.events == total {
            Ok((built, position))
        } else {
            Err(JobError::Events { read: built.events, total })
        }
    }

    /// Runs the workers. Reports their progress five times a second, and writes it to the registry once a second.
    async fn watched(
        &mut self,
        work: impl Future<Output = Result<Totals, JobError>>,
        counter: &AtomicU64,
    ) -> Result<Totals, JobError> {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let mut noted = 0;
        tokio::pin!(work);
        loop {
            tokio::select! {
                built = &mut work => return built,
                _ = ticks.tick() => {
                    let done = counter.load(Ordering::Relaxed);
                    self.progress.send_modify(|progress| progress.done = done);
                    noted += 1;
                    if noted % 5 == 0 {
                        self.enter(Phase::Fold).await?;
                    }
                }
            }
        }
    }

    /// Makes the indexes. Postgres may use a second process for it, if the job may.
    async fn index(&mut self, workers: usize) -> Result<(), JobError> {
        if workers > 1 {
            session::set(&mut self.connection, &[("max_parallel_maintenance_workers", "1")]).await?;
        }
        generation::add_indexes(&mut self.connection, self.table.as_ref()).await?;
        self.enter(Phase::Compare).await
    }
}

/// Reads the table back while its indexes are being made, and compares its rows with those that were written.
async fn compare(connector: Connector, table: Arc<dyn Table>, built: Totals) -> Result<(), JobError> {
    let mut connection = connector.connect().await?;
    let found = table.read_back(&mut connection).await?;
    connection.close().await?;
    if (found.rows, found.checksum) == (built.rows, built.checksum) {
        Ok(())
    } else {
        Err(JobError::Contents { written: built.rows, found: found.rows })
    }
}
