//! One rebuild from beginning to end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity_log::{count, read};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;

use super::error::JobError;
use super::swap::{self, Generation, Reached};
use super::{Phase, Progress, Report, Settings, connection, generation, workers};
use crate::registry;
use crate::table::{Table, Totals};

/// How long it may take to note how a job has ended. If the database is away, so is the note.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs a job, and notes how it has ended.
pub(super) async fn run(
    options: &PgConnectOptions,
    table: Arc<dyn Table>,
    settings: Settings,
    progress: &watch::Sender<Progress>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Report, JobError> {
    let options = connection::options(options, &format!("rebuild of {}", table.name()), "read_model_next");
    let name = table.name();
    let mut job = tokio::select! {
        biased;
        () = stop.as_mut() => return Err(JobError::Interrupted),
        begun = Job::begin(&options, table, progress) => begun?,
    };
    let outcome = job.run(settings, stop).await;
    match &outcome {
        // What the lock still guards is over; a connection that breaks now changes nothing. Let go of before anybody is
        // told, since Postgres takes its time to notice that a connection was closed.
        Ok(_) => {
            drop(generation::unlock(&mut job.connection, name).await);
            drop(job.connection.close().await);
        }
        // What stands in the registry was written with the swap, or was not.
        Err(JobError::Doubt(_)) => {}
        Err(error) => {
            drop(job.connection);
            let word = if matches!(error, JobError::Interrupted) { "interrupted" } else { "failed" };
            let noting = note(&options, name, word, *progress.borrow());
            drop(tokio::time::timeout(PATIENCE, noting).await);
        }
    }
    outcome
}

/// The job's own connection may be in the middle of a statement, or gone.
async fn note(
    options: &PgConnectOptions,
    name: &str,
    word: &str,
    progress: Progress,
) -> Result<(), sqlx::Error> {
    let Progress { phase, done, total } = progress;
    let mut connection = options.connect().await?;
    let phase = format!("{word} in phase {}", phase.as_str());
    registry::note_progress(&mut connection, name, &phase, done, total).await?;
    connection.close().await
}

/// A job in the making: the one connection that holds its lock and does everything that must not happen twice.
struct Job<'a> {
    options: PgConnectOptions,
    connection: PgConnection,
    table: Arc<dyn Table>,
    progress: &'a watch::Sender<Progress>,
}

impl<'a> Job<'a> {
    /// Takes the lock of the read model, or says who has it.
    async fn begin(
        options: &PgConnectOptions,
        table: Arc<dyn Table>,
        progress: &'a watch::Sender<Progress>,
    ) -> Result<Self, JobError> {
        let mut connection = options.connect().await?;
        generation::lock(&mut connection, table.name()).await?;
        registry::register(&mut connection, &[table.as_ref()]).await?;
        Ok(Self { options: options.clone(), connection, table, progress })
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
        let version = self.table.version();
        if !settings.cut_over {
            registry::note_ready(&mut self.connection, self.table.name(), version, reached.position).await?;
            self.enter(Phase::Ready).await?;
            return Ok(report);
        }
        self.enter(Phase::CutOver).await?;
        let swapped = swap::go_live(
            &mut self.connection,
            self.table.as_ref(),
            Generation { version, position: reached.position },
            stop,
        )
        .await?;
        report.events += swapped.events;
        report.position = swapped.position;
        report.pause = Some(swapped.pause);
        self.progress.send_modify(|progress| progress.phase = Phase::Done);
        Ok(report)
    }

    /// Everything but the swap. Gives what was written from the log as it was at the beginning, and how far the table
    /// was caught up since.
    async fn build(&mut self, workers: usize) -> Result<(Totals, Reached), JobError> {
        let (built, position) = self.fold(workers).await?;
        self.enter(Phase::Index).await?;
        let comparing = compare(self.options.clone(), self.table.clone(), built);
        tokio::try_join!(self.index(), comparing)?;
        generation::add_constraints(&mut self.connection, self.table.name()).await?;
        self.enter(Phase::CatchUp).await?;
        let reached = swap::catch_up(&mut self.connection, self.table.as_ref(), position).await?;
        Ok((built, reached))
    }

    async fn enter(&mut self, phase: Phase) -> Result<(), JobError> {
        self.progress.send_modify(|progress| progress.phase = phase);
        let Progress { done, total, .. } = *self.progress.borrow();
        registry::note_progress(&mut self.connection, self.table.name(), phase.as_str(), done, total).await?;
        Ok(())
    }

    /// Folds the log up to its present head. Gives what was written, and the position.
    async fn fold(&mut self, workers: usize) -> Result<(Totals, i64), JobError> {
        self.progress.send_replace(Progress { phase: Phase::Fold, done: 0, total: 0 });
        self.enter(Phase::Fold).await?;
        let position = read::head(&mut self.connection).await?;
        let total = count::count_events(&mut self.connection, self.table.kind(), position).await?;
        self.progress.send_replace(Progress { phase: Phase::Fold, done: 0, total });
        generation::begin(&mut self.connection, self.table.name()).await?;
        let ranges = workers::ranges(&mut self.connection, self.table.kind(), position, total).await?;
        let counter = Arc::new(AtomicU64::new(0));
        let building =
            workers::build(self.options.clone(), self.table.clone(), ranges, workers, counter.clone());
        let built = self.watched(building, &counter).await?;
        self.progress.send_modify(|progress| progress.done = built.events);
        if built.events == total {
            Ok((built, position))
        } else {
            Err(JobError::Events { read: built.events, total })
        }
    }

    /// Runs the workers and passes on how far they are; notes it in the database for whoever looks from elsewhere.
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

    async fn index(&mut self) -> Result<(), JobError> {
        generation::add_indexes(&mut self.connection, self.table.name()).await?;
        self.enter(Phase::Compare).await
    }
}

/// Reads the table back, while its indexes are made: what stands there must be what was written, row for row.
async fn compare(options: PgConnectOptions, table: Arc<dyn Table>, built: Totals) -> Result<(), JobError> {
    let mut connection = options.connect().await?;
    let found = table.read_back(&mut connection).await?;
    connection.close().await?;
    if (found.rows, found.checksum) == (built.rows, built.checksum) {
        Ok(())
    } else {
        Err(JobError::Contents { written: built.rows, found: found.rows })
    }
}
