//! The two batches in flight: one is written while the next one is gathered and drafted.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::batch::{Batch, Written};
use super::connection::{Connector, IdleConnection, within};
use super::deps::Deps;
use super::draft::{Draft, draft};
use super::head::{DraftedOn, LogHead};
use super::last_batch::LastBatch;
use super::queue::{BulkQueue, Job, answer_all, appends, mark_as_sent, refuse, remove_abandoned};
use crate::error::{AppendError, BatchError};
use crate::sole::MAX_RECALL_TIME;

/// How many commands one transaction takes at most. More would spread the cost of a commit a little further, and make
/// every caller of the batch wait longer.
const MAX_BATCH_COMMANDS: usize = 256;

/// How long an incomplete batch waits for further commands while no other batch is being written.
const MAX_GATHER_TIME: Duration = Duration::from_millis(1);

/// An earlier draft of a batch that is to be written under the lock.
enum Earlier {
    /// There is none.
    None,
    /// It was drafted ahead, and may still be valid.
    Ahead(Box<Draft>),
    /// It was rejected.
    Rejected(DraftedOn),
}

impl Earlier {
    fn drafted_on(self) -> Option<DraftedOn> {
        match self {
            Self::None => None,
            Self::Ahead(draft) => Some(draft.into_drafted_on()),
            Self::Rejected(drafted_on) => Some(drafted_on),
        }
    }
}

/// Drafts the next batch while the last one is being written.
pub(super) struct Pipeline {
    connector: Connector,
    deps: Arc<Deps>,
    /// The task that writes a batch, with the writer connection in it.
    writing: Option<JoinHandle<Written>>,
    /// The writer connection, while no batch is being written.
    writer: Option<IdleConnection>,
    /// The connection on which batches are drafted ahead.
    reader: Option<IdleConnection>,
    last_batch: Option<LastBatch>,
    /// Commands that are to be batches of their own.
    bulk: BulkQueue,
    /// Whether the next batch is a bulk command, if one waits.
    is_turn_of_bulk: bool,
}

impl Pipeline {
    pub(super) fn new(connector: Connector, deps: Deps) -> Self {
        let deps = Arc::new(deps);
        Self {
            connector,
            deps,
            writing: None,
            writer: None,
            reader: None,
            last_batch: None,
            bulk: BulkQueue::default(),
            is_turn_of_bulk: false,
        }
    }

    /// Opens the writer connection, before readers take all connections that Postgres has. If that fails, the first batch
    /// tries again.
    pub(super) async fn connect(&mut self) {
        match self.writer().await {
            Ok(connection) => self.writer = Some(IdleConnection::from_now(connection)),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot connect to Postgres for writing yet"
            ),
        }
    }

    /// Waits for the commands of the next batch. Returns an empty batch once the queue is closed and empty.
    ///
    /// A bulk command is a batch of its own. While bulk commands and others wait, their batches alternate. So a command that is no bulk
    /// command waits for one bulk command at most, if all others that wait fit into one batch.
    pub(super) async fn gather(
        &mut self,
        jobs: &mut mpsc::Receiver<Job>,
        last_batch_size: usize,
    ) -> Vec<Job> {
        let is_turn_of_others = !self.is_turn_of_bulk || self.bulk.is_empty();
        let others = if is_turn_of_others { self.gather_others(jobs, last_batch_size).await } else { vec![] };
        self.is_turn_of_bulk = !others.is_empty();
        if others.is_empty() { self.bulk.next().into_iter().collect() } else { others }
    }

    /// Waits for commands that are no bulk commands. Returns an empty batch if only bulk commands wait, or the queue is closed.
    ///
    /// Clients that were answered together send their next commands together, so the first command waits for the others:
    ///
    /// - while another batch is being written: until as many commands wait as the last batch had;
    /// - otherwise: until three quarters of that many wait, and for 1 ms at most.
    ///
    /// If the first command did not wait, it would be a batch of its own. That batch takes as long as one of all
    /// commands, and the others would wait for it.
    async fn gather_others(&mut self, jobs: &mut mpsc::Receiver<Job>, last_batch_size: usize) -> Vec<Job> {
        let mut waiting = Vec::with_capacity(MAX_BATCH_COMMANDS);
        if !self.bulk.is_empty() {
            // It does not wait.
            let _received = jobs.recv_many(&mut waiting, MAX_BATCH_COMMANDS).now_or_never();
        }
        let mut since = tokio::time::Instant::now();
        loop {
            self.bulk.take_from(&mut waiting);
            if waiting.is_empty() && !self.bulk.is_empty() {
                return waiting;
            }
            let idle = self.writing.is_none();
            let enough = if idle { last_batch_size - last_batch_size / 4 } else { last_batch_size };
            if waiting.len() >= enough.max(1) {
                return waiting;
            }
            let (somebody_waits, room) = (!waiting.is_empty(), MAX_BATCH_COMMANDS - waiting.len());
            tokio::select! {
                more = jobs.recv_many(&mut waiting, room) => {
                    if more == 0 {
                        return waiting;
                    }
                    if !somebody_waits {
                        since = tokio::time::Instant::now();
                    }
                }
                written = end(&mut self.writing) => {
                    self.handle_written(written).await;
                    since = tokio::time::Instant::now();
                }
                () = tokio::time::sleep_until(since + MAX_GATHER_TIME), if idle && somebody_waits => return waiting,
            }
        }
    }

    /// Drafts a batch, waits for the batch that is being written, and then starts to write this one.
    pub(super) async fn commit(&mut self, mut jobs: Vec<Job>) {
        remove_abandoned(&mut jobs);
        let ahead = self.draft_ahead(&jobs).await;
        let ahead = if self.finish().await { ahead } else { None };
        match self.begin(ahead, jobs).await {
            Ok(batch) => self.writing = Some(tokio::spawn(batch.write(Arc::clone(&self.deps)))),
            Err((jobs, error)) => self.refused(jobs, error).await,
        }
    }

    /// Drafts a batch on the state that the batch in writing will leave. Returns `None` if that is not possible or
    /// fails; the batch is then drafted under the lock.
    async fn draft_ahead(&mut self, jobs: &[Job]) -> Option<Draft> {
        let appends = appends(jobs);
        let last_batch = self.last_batch.take_if(|last_batch| last_batch.can_draft_ahead(&appends))?;
        let limit = self.deps.settings.database_timeout;
        let drafted = async {
            let mut connection = self.connector.open_or(self.reader.take()).await?;
            let drafted = draft(&mut connection, &self.deps, last_batch.advanced_to_now(), &appends).await?;
            self.reader = Some(IdleConnection::from_now(connection));
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

    /// Makes a batch ready to be written. If that fails, the error contains its jobs.
    async fn begin(&mut self, ahead: Option<Draft>, jobs: Vec<Job>) -> Result<Batch, (Vec<Job>, BatchError)> {
        match ahead {
            Some(draft) if draft.is_one_statement(&appends(&jobs)) => match self.writer().await {
                Ok(connection) if self.last_batch.is_some() => {
                    Ok(Batch { connection, draft, jobs, begun: Instant::now(), is_locked: false })
                }
                Ok(connection) => {
                    self.writer = Some(IdleConnection::from_now(connection));
                    self.begin_under_lock(Earlier::None, jobs).await
                }
                Err(error) => Err(self.not_begun(jobs, error)),
            },
            Some(draft) => self.begin_under_lock(Earlier::Ahead(Box::new(draft)), jobs).await,
            None => self.begin_under_lock(Earlier::None, jobs).await,
        }
    }

    fn not_begun(&self, jobs: Vec<Job>, error: BatchError) -> (Vec<Job>, BatchError) {
        self.deps.failed();
        (jobs, error)
    }

    async fn begin_under_lock(
        &mut self,
        earlier: Earlier,
        mut jobs: Vec<Job>,
    ) -> Result<Batch, (Vec<Job>, BatchError)> {
        // A process that has died answers no recall.
        let limit = self.deps.settings.database_timeout + MAX_RECALL_TIME;
        match within(limit, self.lock(earlier, &mut jobs)).await {
            Ok((connection, draft, begun)) => Ok(Batch { connection, draft, jobs, begun, is_locked: true }),
            Err(error) => {
                self.last_batch = None;
                Err(self.not_begun(jobs, error))
            }
        }
    }

    /// Begins a transaction and locks `log_head`. A draft that is not valid is made again. So is a draft with a command
    /// that was abandoned: the lock may have taken long, and a command whose caller was told that it failed must not be
    /// carried out.
    async fn lock(
        &mut self,
        earlier: Earlier,
        jobs: &mut Vec<Job>,
    ) -> Result<(PgConnection, Draft, Instant), BatchError> {
        let mut connection = self.writer().await?;
        let begun = Instant::now();
        let found = LogHead::lock(&mut connection, &self.deps.settings.seal_key, self.deps.process).await?;
        self.deps.clock_guard.check(found.clock())?;
        let nothing_abandoned = mark_as_sent(jobs);
        let (draft, last_batch) = match (earlier, self.last_batch.take()) {
            (Earlier::Ahead(draft), Some(last_batch)) if nothing_abandoned && draft.is_valid_at(&found) => {
                (*draft, last_batch.with_clock_of(&found))
            }
            (earlier, last_batch) => {
                let last_batch = match earlier.drafted_on() {
                    Some(drafted_on) => LastBatch::after_rejected(last_batch, &drafted_on, found),
                    None => LastBatch::resume(last_batch, found),
                };
                remove_abandoned(jobs);
                draft(&mut connection, &self.deps, last_batch, &appends(jobs)).await?
            }
        };
        self.last_batch = Some(last_batch);
        Ok((connection, draft, begun))
    }

    /// The writer connection. A new one may lead to another server, whose log may have other events at the same positions: a
    /// standby with fewer events that became the primary. So the last batch is forgotten with the old connection.
    async fn writer(&mut self) -> Result<PgConnection, BatchError> {
        let limit = self.deps.settings.database_timeout;
        if let Some(idle) = self.writer.take()
            && let Some(connection) = within(limit, async { Ok(idle.if_alive().await) }).await?
        {
            return Ok(connection);
        }
        (self.last_batch, self.reader) = (None, None);
        within(limit, async { Ok(self.connector.open_before_readers().await?) }).await
    }

    /// Waits for the batch that is being written, if there is one. Returns whether a draft that was made on top of it can
    /// be valid: the batch was committed as it was drafted.
    pub(super) async fn finish(&mut self) -> bool {
        if self.writing.is_none() {
            return true;
        }
        let written = end(&mut self.writing).await;
        self.handle_written(written).await
    }

    /// Handles the result of writing a batch. Returns whether the batch was committed as it was drafted.
    async fn handle_written(&mut self, written: Result<Written, JoinError>) -> bool {
        match written {
            Ok(Written::Committed(connection)) => {
                self.writer = Some(IdleConnection::from_now(connection));
                return true;
            }
            Ok(Written::Invalid(connection, drafted_on, jobs)) => {
                self.writer = Some(IdleConnection::from_now(connection));
                let rejected = Earlier::Rejected(drafted_on);
                if let Err((jobs, error)) = self.commit_under_lock(rejected, jobs).await {
                    self.refused(jobs, error).await;
                }
            }
            Ok(Written::Refused(jobs, error)) => self.refused(jobs, error).await,
            Ok(Written::Unconfirmed(jobs, error)) => self.unconfirmed(jobs, error),
            // Its callers get `OutcomeUnknown`, since the task dropped their reply channels.
            Err(panicked) => {
                self.last_batch = None;
                self.deps.failed();
                self.deps.tell(|observer| observer.outcome_unknown());
                self.deps.committed.send_replace(());
                tracing::error!(
                    error = &panicked as &dyn std::error::Error,
                    "the task that wrote a batch panicked"
                );
            }
        }
        false
    }

    /// Handles a batch of which nothing was written. In an outage every caller gets an error. If another attempt may
    /// succeed, each command is tried alone under the lock, so that one command that cannot be written does not fail the
    /// others. A batch of one command is tried again, too: another process may have used its idempotency key after it was
    /// drafted ahead, and the lock shows that.
    async fn refused(&mut self, jobs: Vec<Job>, error: BatchError) {
        self.last_batch = None;
        if !error.is_worth_another_attempt() {
            return refuse(jobs, error);
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands = jobs.len(),
            "batch refused, committing one by one"
        );
        for job in jobs {
            if let Err((jobs, error)) = self.commit_under_lock(Earlier::None, vec![job]).await {
                self.last_batch = None;
                refuse(jobs, error);
            }
        }
    }

    /// Tells all callers of a batch that it may have been committed.
    fn unconfirmed(&mut self, jobs: Vec<Job>, error: BatchError) {
        self.last_batch = None;
        self.deps.committed.send_replace(());
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands = jobs.len(),
            "Postgres did not confirm a batch: it may have been committed"
        );
        answer_all(jobs, error, AppendError::OutcomeUnknown);
    }

    /// Drafts and commits a batch under the lock and waits for it.
    async fn commit_under_lock(
        &mut self,
        earlier: Earlier,
        jobs: Vec<Job>,
    ) -> Result<(), (Vec<Job>, BatchError)> {
        let batch = self.begin_under_lock(earlier, jobs).await?;
        match batch.write(Arc::clone(&self.deps)).await {
            Written::Committed(connection) => {
                self.writer = Some(IdleConnection::from_now(connection));
                Ok(())
            }
            Written::Invalid(_, _, jobs) => Err((jobs, BatchError::Moved)),
            Written::Refused(jobs, error) => Err((jobs, error)),
            Written::Unconfirmed(jobs, error) => {
                self.unconfirmed(jobs, error);
                Ok(())
            }
        }
    }
}

/// Waits until the batch in writing is finished; forever if there is none.
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
