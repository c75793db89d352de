//! Group commit: one task drains all waiting commands into one transaction.
//!
//! While a batch is being committed the next one gathers in the queue, so batches grow with the load by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use identity_domain::{Rejection, State};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{mpsc, oneshot};

use crate::batch::{self, Memory, Outcome};
use crate::carrier::Carrier;
use crate::error::{AppendError, BatchError};
use crate::log::{Append, Committed, Settings};
use crate::metrics::Metrics;
use crate::read_model::{Observer, ReadModel};

/// The most commands in one transaction: enough to spread the cost of a commit, few enough to keep it short.
const LARGEST_BATCH: usize = 256;

/// How long a batch waits for clients that have just been answered.
const MOMENT: Duration = Duration::from_millis(1);

/// A command waiting for its answer.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) append: Append,
    pub(crate) reply: oneshot::Sender<Result<Committed, AppendError>>,
}

/// The one task of a process that writes to the log. Run it with [`Committer::run`].
pub struct Committer {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    jobs: mpsc::Receiver<Job>,
    tools: Tools,
    observers: Vec<Arc<dyn Observer>>,
    memory: Memory,
    metrics: Metrics,
}

/// What a batch needs besides its connection.
pub(crate) struct Tools {
    pub(crate) read_models: Vec<Arc<dyn ReadModel>>,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) settings: Settings,
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
        Self {
            options: limited(options),
            connection: None,
            jobs,
            tools: Tools { read_models, carrier, settings },
            observers: vec![],
            memory: Memory::default(),
            metrics: Metrics::default(),
        }
    }

    /// The same committer, which tells `observer` of every commit before it answers anybody.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// The same committer, counting what it does with these counters.
    #[must_use]
    pub fn counted_by(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Commits until the last [`Log`](crate::Log) is gone and everything that waited has its answer.
    pub async fn run(mut self) {
        let mut waiting = Vec::with_capacity(LARGEST_BATCH);
        let mut last = 0;
        while self.jobs.recv_many(&mut waiting, LARGEST_BATCH).await > 0 {
            self.gather(&mut waiting, last).await;
            last = waiting.len();
            self.commit(std::mem::take(&mut waiting)).await;
        }
    }

    /// Clients that were answered together come back together. Who comes first waits a moment for most of the others:
    /// alone it would take as long, and all of them would wait for it.
    async fn gather(&mut self, waiting: &mut Vec<Job>, last: usize) {
        let deadline = tokio::time::Instant::now() + MOMENT;
        let most = last - last / 4;
        while waiting.len() < most {
            let room = LARGEST_BATCH - waiting.len();
            let more = tokio::time::timeout_at(deadline, self.jobs.recv_many(waiting, room)).await;
            if more.unwrap_or(0) == 0 {
                return;
            }
        }
    }

    /// A batch fails as a whole when the database refuses one of its statements; then each command is tried by
    /// itself, so that one that cannot be written does not take others with it.
    async fn commit(&mut self, jobs: Vec<Job>) {
        let appends: Vec<&Append> = jobs.iter().map(|job| &job.append).collect();
        match self.try_commit(&appends).await {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    answer(job, outcome);
                }
            }
            Err(error) if jobs.len() > 1 && !error.is_outage() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    commands = jobs.len(),
                    "batch refused, committing one by one"
                );
                for job in jobs {
                    self.commit_alone(job).await;
                }
            }
            Err(error) => refuse(jobs, error),
        }
    }

    async fn commit_alone(&mut self, job: Job) {
        match self.try_commit(&[&job.append]).await.map(|outcomes| outcomes.into_iter().next()) {
            Ok(Some(outcome)) => answer(job, outcome),
            Ok(None) => refuse(vec![job], BatchError::Stopped),
            Err(error) => refuse(vec![job], error),
        }
    }

    /// After any error the connection is dropped: Postgres rolls back, and the next batch starts on a fresh one.
    async fn try_commit(&mut self, appends: &[&Append]) -> Result<Vec<Outcome>, BatchError> {
        let written = self.write(appends).await;
        if written.is_err() {
            self.metrics.failed();
        }
        written
    }

    async fn write(&mut self, appends: &[&Append]) -> Result<Vec<Outcome>, BatchError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => PgConnection::connect_with(&self.options).await?,
        };
        let memory = std::mem::take(&mut self.memory);
        let begun = Instant::now();
        let batch = batch::write(&mut connection, &self.tools, memory, appends).await?;
        connection.execute("commit").await?;
        self.metrics.committed(&batch.outcomes, begun.elapsed());
        for observer in &self.observers {
            observer.committed(&batch.events);
        }
        self.memory = batch.memory;
        self.connection = Some(connection);
        Ok(batch.outcomes)
    }
}

fn answer(job: Job, outcome: Result<Committed, AppendError>) {
    // A caller that went away has nobody to tell; what was committed stays committed.
    drop(job.reply.send(outcome));
}

fn refuse(jobs: Vec<Job>, error: BatchError) {
    let outage = error.is_outage();
    let error = Arc::new(error);
    for job in jobs {
        let error = Arc::clone(&error);
        answer(job, Err(if outage { AppendError::Unavailable(error) } else { AppendError::Failed(error) }));
    }
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

/// A command that a state of another kind cannot decide is a defect of the caller, not of the data.
pub(crate) fn decide(
    state: &State,
    append: &Append,
    facts: &identity_domain::Facts,
) -> Result<Vec<identity_domain::Event>, Rejection> {
    state.decide(&append.command, facts).unwrap_or(Ok(vec![]))
}
