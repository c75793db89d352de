//! The handle through which the rest of the service appends.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::append::{Append, Committed};
use crate::error::{AppendError, BatchError};
use crate::event::ids;
use crate::read_model::ReadModel;
use crate::settings::Settings;
use crate::write::committer::Committer;
use crate::write::queue::{Job, MAX_QUEUED_COMMANDS};
use crate::write::trial::Trial;

/// Appends commands to the log. Cheap to clone; the [`Committer`] stops when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Log {
    process: Uuid,
    queue: mpsc::Sender<Job>,
    trial: Arc<Trial>,
}

impl Log {
    /// A log over a migrated database, and its committer. The caller has to run the committer.
    pub fn open(
        options: PgConnectOptions,
        read_models: Vec<Arc<dyn ReadModel>>,
        settings: Settings,
    ) -> (Self, Committer) {
        let (queue, jobs) = mpsc::channel(MAX_QUEUED_COMMANDS);
        let process = ids::mint();
        let trial = Trial::new(process, read_models.clone(), settings.clone());
        let committer = Committer::new(process, options, jobs, read_models, settings, &trial);
        (Self { process, queue, trial: Arc::new(trial) }, committer)
    }

    /// The id under which this process can be the sole one ([`crate::sole`]). Each log has its own.
    pub fn process(&self) -> Uuid {
        self.process
    }

    /// Appends the events of a command. Returns after COMMIT. If it fails, nothing was written and nothing will be,
    /// unless the error is [`AppendError::OutcomeUnknown`].
    ///
    /// A caller that drops this future gets no answer. Its command is not carried out if its batch is not drafted yet. A caller
    /// that must know abandons it ([`Fate::abandon`](crate::Fate::abandon)), which counts until the batch is sent.
    pub async fn append(&self, append: Append) -> Result<Committed, AppendError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || AppendError::Unavailable(Arc::new(BatchError::Stopped));
        self.queue.send(Job { append, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| AppendError::OutcomeUnknown(Arc::new(BatchError::Stopped)))?
    }

    /// Whether the committer of this log runs, or is to be run yet. One that has ended by a defect is not started again.
    pub fn has_committer(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Whether this process has committed something within the last 10 s, and has not failed since.
    pub fn has_just_committed(&self) -> bool {
        self.trial.has_just_committed()
    }

    /// Writes something and rolls back, to see whether events can be written. The connection is left as it was.
    pub async fn try_write(&self, connection: &mut PgConnection) -> Result<(), AppendError> {
        self.trial.try_write(connection).await
    }

    /// Whether the clock of the database had jumped ahead when it was last read, so that nothing is written.
    pub fn clock_has_jumped(&self) -> bool {
        self.trial.clock_guard().has_jumped()
    }
}

/// The options of `pool`, for a connection of the log's own.
pub fn connect_options(pool: &PgPool) -> PgConnectOptions {
    pool.connect_options().as_ref().clone()
}
