//! What the rest of the service holds of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use identity_domain::Command;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{mpsc, oneshot};

use crate::carrier::Carrier;
use crate::committer::{Committer, Job};
use crate::error::{AppendError, BatchError};
use crate::idempotency::{Kept, Repeatable};
use crate::metadata::{Actor, Metadata};
use crate::read_model::ReadModel;
use crate::recorded::Recorded;

/// How many commands may wait for the committer before callers wait for room.
const QUEUE: usize = 4096;

/// A command and who asks for it.
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose history it goes into.
    pub organization_id: String,
    /// What it is asked of.
    pub aggregate_id: String,
    /// What is asked.
    pub command: Command,
    /// Who asks. A command of a key is refused if the key is revoked, or its identity deleted, at the place in the log
    /// where the events of the command would stand.
    pub actor: Actor,
    /// What is written beside its events.
    pub metadata: Metadata,
    /// The version the caller has seen, if it must still be the present one.
    pub expected_version: Option<i64>,
    /// The key under which the same write may be sent again, and how to answer it.
    pub repeatable: Option<Repeatable>,
    /// Whether it is still to be written. A clone of it lets the caller abandon the command.
    pub fate: Fate,
}

/// Whether a command is waiting, abandoned by its caller, or on its way to Postgres. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fate(Arc<AtomicU8>);

impl Fate {
    const WAITING: u8 = 0;
    const ABANDONED: u8 = 1;
    const SENT: u8 = 2;

    /// Abandons the command. True if it was not on its way yet: then it is never carried out.
    pub fn abandon(&self) -> bool {
        self.become_or_is(Self::ABANDONED)
    }

    /// Marks the command as on its way. False if it was abandoned before.
    pub(crate) fn send(&self) -> bool {
        self.become_or_is(Self::SENT)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::ABANDONED
    }

    fn become_or_is(&self, state: u8) -> bool {
        let exchanged = self.0.compare_exchange(Self::WAITING, state, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.map_or_else(|present| present == state, |_| true)
    }
}

/// What an append came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The aggregate's version now.
    pub version: i64,
    /// What was written; empty if there was nothing to do.
    pub events: Vec<Recorded>,
    /// The answer that was kept, for a write that may be repeated.
    pub kept: Option<Kept>,
}

/// How the log behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a name that was given up is kept from others.
    pub name_hold: Duration,
    /// How long the committer waits for an answer of Postgres before it gives up the connection. Postgres itself ends
    /// statements a little earlier, so this limit is for a host that does not answer any more.
    pub database_timeout: Duration,
}

impl Settings {
    /// The usual settings, but for how long names are held.
    pub fn with_name_hold(name_hold: Duration) -> Self {
        Self { name_hold, database_timeout: DATABASE_TIMEOUT }
    }
}

/// How long the committer waits for an answer of Postgres, unless the settings say otherwise.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(12);

/// The way to append. Cheap to clone; the [`Committer`] stops when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Log {
    queue: mpsc::Sender<Job>,
}

impl Log {
    /// A log over a migrated database, and the committer that its owner must run.
    pub fn open(
        options: PgConnectOptions,
        read_models: Vec<Arc<dyn ReadModel>>,
        carrier: Arc<dyn Carrier>,
        settings: Settings,
    ) -> (Self, Committer) {
        let (queue, jobs) = mpsc::channel(QUEUE);
        (Self { queue }, Committer::new(options, jobs, read_models, carrier, settings))
    }

    /// Appends what the command comes to. Returns after COMMIT. When it fails, nothing was written and nothing will be,
    /// unless the error is [`AppendError::OutcomeUnknown`].
    ///
    /// A caller that drops this future is told nothing. Its command is not carried out, unless its batch is on the way
    /// to Postgres already.
    pub async fn append(&self, append: Append) -> Result<Committed, AppendError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || AppendError::Unavailable(Arc::new(BatchError::Stopped));
        self.queue.send(Job { append, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| AppendError::OutcomeUnknown(Arc::new(BatchError::Stopped)))?
    }
}

/// Options of `pool` for a connection of the log's own.
pub fn connect_options(pool: &PgPool) -> PgConnectOptions {
    pool.connect_options().as_ref().clone()
}
