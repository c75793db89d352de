//! The rebuild of a read model while the service runs.
//!
//! The next generation of the table is built in schema `read_model_next` from the log alone. The live table is not
//! touched until the swap, which happens under the head lock together with the last events, so whoever waits for the
//! lock waits for milliseconds and nothing falls between the two. Killed at any moment, a job leaves the live table as
//! it was; the next job starts over.

mod error;
mod generation;
mod swap;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity_log::{read, scan};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::watch;

use crate::registry;
use crate::table::{Table, Totals};

pub use error::JobError;
pub use swap::rollback;
pub use workers::verify;

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the log, folding it and writing what it comes to.
    Fold,
    /// Adding keys and indexes.
    Index,
    /// Reading the table back and holding it against what was written.
    Compare,
    /// Folding what was appended meanwhile.
    CatchUp,
    /// Making the table the live one.
    CutOver,
    /// It is done.
    Done,
}

impl Phase {
    /// Its name, as it is shown and noted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fold => "fold",
            Self::Index => "index",
            Self::Compare => "compare",
            Self::CatchUp => "catch up",
            Self::CutOver => "cut over",
            Self::Done => "done",
        }
    }
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Events it has read.
    pub done: u64,
    /// Events it has to read.
    pub total: u64,
}

/// What a job came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Events that were read.
    pub events: u64,
    /// Rows that were written from them.
    pub rows: u64,
    /// The position the table stands at.
    pub position: i64,
    /// How long writers waited while the table went live; `None` when it did not.
    pub pause: Option<Duration>,
}

/// How a job is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many ranges are folded at the same time.
    pub workers: usize,
    /// Whether the table goes live when it is ready.
    pub cut_over: bool,
}

/// Rebuilds one read model. Tells on `progress` how far it has come.
pub async fn rebuild(
    options: &PgConnectOptions,
    table: Arc<dyn Table>,
    settings: Settings,
    progress: &watch::Sender<Progress>,
) -> Result<Report, JobError> {
    let mut job = Job::begin(options, table, progress).await?;
    let (built, position) = job.fold(settings.workers).await?;
    job.enter(Phase::Index).await?;
    generation::add_indexes(&mut job.connection, job.table.name()).await?;
    job.enter(Phase::Compare).await?;
    job.compare(built).await?;
    job.enter(Phase::CatchUp).await?;
    let position = swap::catch_up(&mut job.connection, job.table.as_ref(), position).await?;
    let report = Report { events: built.events, rows: built.rows, position, pause: None };
    if !settings.cut_over {
        job.enter(Phase::Done).await?;
        return Ok(report);
    }
    job.enter(Phase::CutOver).await?;
    let (position, pause) = swap::cut_over(&mut job.connection, job.table.as_ref(), position).await?;
    job.enter(Phase::Done).await?;
    Ok(Report { position, pause: Some(pause), ..report })
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
        let name = format!("identityd rebuild of {}, process {}", table.name(), std::process::id());
        let options = options
            .clone()
            .application_name(&name)
            .options([("search_path", "read_model_next,public"), ("jit", "off"), ("work_mem", "64MB")])
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        generation::lock(&mut connection, table.name()).await?;
        registry::register(&mut connection, &[table.as_ref()]).await?;
        Ok(Self { options, connection, table, progress })
    }

    async fn enter(&mut self, phase: Phase) -> Result<(), JobError> {
        self.progress.send_modify(|progress| progress.phase = phase);
        let Progress { done, total, .. } = *self.progress.borrow();
        registry::note_progress(&mut self.connection, self.table.name(), phase.as_str(), done, total).await?;
        Ok(())
    }

    /// Folds the log up to its present head. Gives what was written, and the position.
    async fn fold(&mut self, workers: usize) -> Result<(Totals, i64), JobError> {
        let position = read::head(&mut self.connection).await?;
        let total = scan::count(&mut self.connection, self.table.kind(), position).await?;
        self.progress.send_replace(Progress { phase: Phase::Fold, done: 0, total });
        self.enter(Phase::Fold).await?;
        generation::begin(&mut self.connection, self.table.name()).await?;
        let ranges = workers::ranges(&mut self.connection, self.table.kind(), position, total).await?;
        let counter = Arc::new(AtomicU64::new(0));
        let building =
            workers::build(self.options.clone(), self.table.clone(), ranges, workers, counter.clone());
        let built = self.watched(building, &counter).await?;
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

    /// Reads the table back: what stands there must be what was written, row for row.
    async fn compare(&mut self, built: Totals) -> Result<(), JobError> {
        let found = self.table.read_back(&mut self.connection).await?;
        if (found.rows, found.checksum) == (built.rows, built.checksum) {
            Ok(())
        } else {
            Err(JobError::Contents { written: built.rows, found: found.rows })
        }
    }
}
