//! Group commit: one task drains all waiting commands into one transaction after the other.
//!
//! While a batch is being written the next one gathers in the queue and is drafted, so batches grow with the load by
//! themselves. A draft that finds the log as it expects is written by one statement; whatever else there is to write is
//! written in a transaction that holds the lock.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

use crate::batch::{Batch, Written, refuse, tell_all};
use crate::carrier::Carrier;
use crate::draft::{Draft, LastBatch, draft};
use crate::error::{AppendError, BatchError};
use crate::head::Head;
use crate::log::{Append, Committed, Settings};
use crate::metrics::Metrics;
use crate::read_model::{Observer, ReadModel};

/// The most commands in one transaction: enough to spread the cost of a commit, few enough to keep it short.
const LARGEST_BATCH: usize = 256;

/// How long a batch waits for clients that have just been answered.
const MOMENT: Duration = Duration::from_millis(1);

/// How long a connection may be idle before it is asked whether it still works.
const TRUSTED_IDLE_TIME: Duration = Duration::from_secs(1);

/// A command waiting for its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) append: Append,
    pub(crate) reply: oneshot::Sender<Result<Committed, AppendError>>,
}

/// The one task of a process that writes to the log. Run it with [`Committer::run`].
pub struct Committer {
    options: PgConnectOptions,
    jobs: mpsc::Receiver<Job>,
    deps: Deps,
}

/// What a batch needs besides its connection.
pub(crate) struct Deps {
    pub(crate) read_models: Vec<Arc<dyn ReadModel>>,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) settings: Settings,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) metrics: Metrics,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Committer").finish_non_exhaustive()
    }
}

impl Committer {
    pub(crate) fn new(
        options: PgConnectOptions,
        jobs: mpsc::Receiver<Job>,
        read_models: Vec<Arc<dyn ReadModel>>,
        carrier: Arc<dyn Carrier>,
        settings: Settings,
    ) -> Self {
        let (observers, metrics) = (vec![], Metrics::default());
        let deps = Deps { read_models, carrier, settings, observers, metrics };
        Self { options: limited(options), jobs, deps }
    }

    /// The same committer, which tells `observer` of every commit before it answers anybody.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.deps.observers.push(observer);
        self
    }

    /// The same committer, counting what it does with these counters.
    #[must_use]
    pub fn counted_by(mut self, metrics: Metrics) -> Self {
        self.deps.metrics = metrics;
        self
    }

    /// Commits until the last [`Log`](crate::Log) is gone and everything that waited has its answer.
    pub async fn run(self) {
        let Self { options, mut jobs, deps } = self;
        let mut pipeline = Pipeline {
            options,
            deps: Arc::new(deps),
            writing: None,
            writer: None,
            reader: None,
            last_batch: None,
        };
        let mut last = 0;
        loop {
            let batch = pipeline.gather(&mut jobs, last).await;
            if batch.is_empty() {
                break;
            }
            last = batch.len();
            pipeline.commit(batch).await;
        }
        pipeline.finish().await;
    }
}

/// Where batches are drafted and sent off to be written, one at a time.
struct Pipeline {
    options: PgConnectOptions,
    deps: Arc<Deps>,
    /// The batch that is being written, on the writer's connection.
    writing: Option<JoinHandle<Written>>,
    writer: Option<Idle>,
    /// What drafts ahead read with.
    reader: Option<Idle>,
    last_batch: Option<LastBatch>,
}

impl Pipeline {
    /// Waits for commands; there are none when the last who could ask is gone.
    ///
    /// Clients that were answered together come back together. Who comes first waits for the others: for as many as the
    /// last batch had while another is being written, and for most of them a moment longer. Alone it would take as long,
    /// and all of them would wait for it.
    async fn gather(&mut self, jobs: &mut mpsc::Receiver<Job>, last: usize) -> Vec<Job> {
        let mut waiting = Vec::with_capacity(LARGEST_BATCH);
        let mut since = tokio::time::Instant::now();
        loop {
            let idle = self.writing.is_none();
            let enough = if idle { last - last / 4 } else { last };
            if waiting.len() >= enough.max(1) {
                return waiting;
            }
            let (somebody, room) = (!waiting.is_empty(), LARGEST_BATCH - waiting.len());
            tokio::select! {
                more = jobs.recv_many(&mut waiting, room) => {
                    if more == 0 {
                        return waiting;
                    }
                    if !somebody {
                        since = tokio::time::Instant::now();
                    }
                }
                written = end(&mut self.writing) => {
                    self.settle(written).await;
                    since = tokio::time::Instant::now();
                }
                () = tokio::time::sleep_until(since + MOMENT), if idle && somebody => return waiting,
            }
        }
    }

    /// Drafts a batch, while another is being written if need be, and has it written once that one is.
    async fn commit(&mut self, mut jobs: Vec<Job>) {
        forget_gone_callers(&mut jobs);
        let ahead = self.draft_ahead(&jobs).await;
        let ahead = if self.finish().await { ahead } else { None };
        match self.begin(ahead, jobs).await {
            Ok(batch) => self.writing = Some(tokio::spawn(batch.write(Arc::clone(&self.deps)))),
            Err((jobs, error)) => self.refused(jobs, error).await,
        }
    }

    /// Drafts a batch on what is known of the log, with what the one that is being written will have made of it. What cannot
    /// be foreseen, or read, is drafted under the lock.
    async fn draft_ahead(&mut self, jobs: &[Job]) -> Option<Draft> {
        let appends = appends(jobs);
        let last_batch = self.last_batch.take_if(|last_batch| last_batch.can_draft_ahead(&appends))?;
        let limit = self.deps.settings.database_timeout;
        let drafted = async {
            let mut connection = open(self.reader.take(), &self.options).await?;
            let drafted = draft(&mut connection, &self.deps, last_batch.expecting(), &appends).await?;
            self.reader = Some(Idle::from_now(connection));
            Ok::<_, BatchError>(drafted)
        };
        match within(limit, drafted).await {
            Ok((draft, last_batch)) => {
                self.last_batch = Some(last_batch);
                Some(draft)
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a batch was not drafted ahead");
                None
            }
        }
    }

    /// Makes a batch ready to be written. Where that fails, its commands come back.
    async fn begin(&mut self, ahead: Option<Draft>, jobs: Vec<Job>) -> Result<Batch, (Vec<Job>, BatchError)> {
        match ahead {
            Some(draft) if draft.is_one_statement(&appends(&jobs)) => match self.writer().await {
                Ok(connection) => {
                    Ok(Batch { connection, draft, jobs, begun: Instant::now(), is_locked: false })
                }
                Err(error) => Err(self.not_begun(jobs, error)),
            },
            ahead => self.begin_under_lock(ahead, jobs).await,
        }
    }

    fn not_begun(&self, jobs: Vec<Job>, error: BatchError) -> (Vec<Job>, BatchError) {
        self.deps.metrics.failed();
        (jobs, error)
    }

    async fn begin_under_lock(
        &mut self,
        ahead: Option<Draft>,
        mut jobs: Vec<Job>,
    ) -> Result<Batch, (Vec<Job>, BatchError)> {
        let limit = self.deps.settings.database_timeout;
        match within(limit, self.lock(ahead, &mut jobs)).await {
            Ok((connection, draft, begun)) => Ok(Batch { connection, draft, jobs, begun, is_locked: true }),
            Err(error) => {
                self.last_batch = None;
                Err(self.not_begun(jobs, error))
            }
        }
    }

    /// Begins a transaction and takes the head lock. A draft that is not valid, or holds an abandoned command, is made
    /// anew for the callers that still wait: the lock may have taken long, and a command whose caller was told that it
    /// failed must not be carried out.
    async fn lock(
        &mut self,
        ahead: Option<Draft>,
        jobs: &mut Vec<Job>,
    ) -> Result<(PgConnection, Draft, Instant), BatchError> {
        let mut connection = self.writer().await?;
        let begun = Instant::now();
        let found = Head::lock(&mut connection).await?;
        let nothing_abandoned = send_all(jobs);
        let (draft, last_batch) = match (ahead, self.last_batch.take()) {
            (Some(draft), Some(last_batch)) if nothing_abandoned && draft.is_valid_at(&found) => {
                (draft, last_batch.at(&found))
            }
            (ahead, last_batch) => {
                let last_batch = match ahead {
                    Some(draft) => LastBatch::after_rejected(&draft, found),
                    None => LastBatch::resume(last_batch, found),
                };
                forget_gone_callers(jobs);
                draft(&mut connection, &self.deps, last_batch, &appends(jobs)).await?
            }
        };
        self.last_batch = Some(last_batch);
        Ok((connection, draft, begun))
    }

    async fn writer(&mut self) -> Result<PgConnection, BatchError> {
        let (limit, idle) = (self.deps.settings.database_timeout, self.writer.take());
        within(limit, async { Ok(open(idle, &self.options).await?) }).await
    }

    /// Waits for the batch that is being written, if there is one; whether what was drafted on it may hold.
    async fn finish(&mut self) -> bool {
        if self.writing.is_none() {
            return true;
        }
        let written = end(&mut self.writing).await;
        self.settle(written).await
    }

    /// Takes note of what became of a batch; whether it was committed.
    async fn settle(&mut self, written: Result<Written, JoinError>) -> bool {
        match written {
            Ok(Written::Committed(connection)) => {
                self.writer = Some(Idle::from_now(connection));
                return true;
            }
            Ok(Written::Missed(connection, draft, jobs)) => {
                self.writer = Some(Idle::from_now(connection));
                self.last_batch = None;
                if let Err((jobs, error)) = self.commit_under_lock(Some(*draft), jobs).await {
                    self.refused(jobs, error).await;
                }
            }
            Ok(Written::Refused(jobs, error)) => self.refused(jobs, error).await,
            Ok(Written::Unconfirmed(jobs, error)) => self.unconfirmed(jobs, error),
            // Those who waited for it are told by the loss of their channels.
            Err(panicked) => {
                self.last_batch = None;
                tracing::error!(error = &panicked as &dyn std::error::Error, "a batch was lost");
            }
        }
        false
    }

    /// A batch fails as a whole when the database refuses one of its statements; then each command is tried by
    /// itself, so that one that cannot be written does not take others with it. One alone is tried again, too: what was
    /// drafted ahead may not have seen that its key was used meanwhile.
    async fn refused(&mut self, jobs: Vec<Job>, error: BatchError) {
        self.last_batch = None;
        if error.is_outage() {
            return refuse(jobs, error);
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands = jobs.len(),
            "batch refused, committing one by one"
        );
        for job in jobs {
            if let Err((jobs, error)) = self.commit_under_lock(None, vec![job]).await {
                self.last_batch = None;
                refuse(jobs, error);
            }
        }
    }

    /// Tells all callers of a batch that it may have been committed.
    fn unconfirmed(&mut self, jobs: Vec<Job>, error: BatchError) {
        self.last_batch = None;
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands = jobs.len(),
            "Postgres did not confirm a batch: it may have been committed"
        );
        tell_all(jobs, error, AppendError::OutcomeUnknown);
    }

    /// Commits a batch at once, in place of a draft if it has missed its turn.
    async fn commit_under_lock(
        &mut self,
        missed: Option<Draft>,
        jobs: Vec<Job>,
    ) -> Result<(), (Vec<Job>, BatchError)> {
        let batch = self.begin_under_lock(missed, jobs).await?;
        match batch.write(Arc::clone(&self.deps)).await {
            Written::Committed(connection) => {
                self.writer = Some(Idle::from_now(connection));
                Ok(())
            }
            Written::Missed(_, _, jobs) => Err((jobs, BatchError::Moved)),
            Written::Refused(jobs, error) => Err((jobs, error)),
            Written::Unconfirmed(jobs, error) => {
                self.unconfirmed(jobs, error);
                Ok(())
            }
        }
    }
}

/// Drops the jobs whose callers do not wait any more: each of them was told that its command failed, or went away.
fn forget_gone_callers(jobs: &mut Vec<Job>) {
    jobs.retain(|job| !job.reply.is_closed() && !job.append.fate.is_abandoned());
}

/// Marks all commands as on their way to Postgres. False if one of them was abandoned before.
pub(crate) fn send_all(jobs: &[Job]) -> bool {
    jobs.iter().fold(true, |all, job| job.append.fate.send() && all)
}

/// Waits for Postgres, but not longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, BatchError>>,
) -> Result<T, BatchError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(BatchError::Timeout(limit)))
}

fn appends(jobs: &[Job]) -> Vec<&Append> {
    jobs.iter().map(|job| &job.append).collect()
}

/// The end of the batch that is being written; never, where there is none.
async fn end(writing: &mut Option<JoinHandle<Written>>) -> Result<Written, JoinError> {
    match writing {
        Some(batch) => {
            let written = batch.await;
            *writing = None;
            written
        }
        None => pending().await,
    }
}

/// A connection between two batches.
struct Idle {
    connection: PgConnection,
    since: Instant,
}

impl Idle {
    fn from_now(connection: PgConnection) -> Self {
        Self { connection, since: Instant::now() }
    }
}

/// The idle connection, or a new one. After a while without use somebody may have closed the idle one: it is asked, so
/// that no batch is lost with it.
async fn open(idle: Option<Idle>, options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    if let Some(Idle { mut connection, since }) = idle
        && (since.elapsed() < TRUSTED_IDLE_TIME || connection.ping().await.is_ok())
    {
        return Ok(connection);
    }
    PgConnection::connect_with(options).await
}

/// No client round trip may leave the head lock hanging: every wait on the committer's connection has an end.
///
/// Every statement of a batch names the keys it wants, so there is one good plan: from the keys, through their index, to
/// the rows. Left to itself, Postgres plans for the sizes it last heard of, and a table that has grown since is read from
/// end to end, batch after batch, until it hears of it. Where keys are joined, the statement itself says in which order:
/// what is looked up stands in a lateral subquery, and `offset 0` keeps it there.
fn limited(options: PgConnectOptions) -> PgConnectOptions {
    options.application_name("identityd committer").options([
        ("idle_in_transaction_session_timeout", "5s"),
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_keepalives_count", "3"),
        ("search_path", "read_model,public"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ])
}
