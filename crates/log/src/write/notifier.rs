//! Tells the followers of every process that there are new events.
//!
//! The transaction that appends does not do it: Postgres puts notifications in the order of their transactions, so it commits
//! transactions with notifications one after the other, in all databases of the server, each until it is on disk. This one does not
//! wait for the disk, so it keeps nobody waiting. Commits that follow each other closely are told of together.
//!
//! A notification may be late, or missing: if the process dies after a commit, or if the connection breaks. Followers also look by
//! themselves.

use std::time::Duration;

use sqlx::{Executor as _, PgConnection};
use tokio::sync::watch;

use super::connection::{Connector, IdleConnection, within};
use crate::error::BatchError;
use crate::session::{self, Setting};

/// The time limit of a notification. Without one the cache reads the log every 250 ms, and followers once a second.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// The settings of the session. The time limits make Postgres end a notification that this task has given up.
const SETTINGS: [Setting<'static>; 4] = [
    ("application_name", "identityd notifier"),
    ("statement_timeout", "1s"),
    ("lock_timeout", "1s"),
    ("synchronous_commit", "off"),
];

/// Sends the position that this server has. It can differ from the last one of this process, if the server has taken the place of
/// another one.
const NOTIFY: &str = "select pg_notify('identityd_log', position::text) from public.log_head";

/// The pause after a notification. Followers are told of all commits of that time together: where one client creates, a notification
/// for each commit takes Postgres an eighth of its time.
const GATHER_TIME: Duration = Duration::from_millis(5);

/// The pause after a failed notification.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The channel on which followers listen.
pub(crate) const CHANNEL: &str = "identityd_log";

/// The task that tells the followers.
pub(super) struct Notifier {
    connector: Connector,
    connection: Option<IdleConnection>,
    /// Changes after each commit.
    committed: watch::Receiver<()>,
}

impl Notifier {
    pub(super) fn new(connector: Connector, committed: watch::Receiver<()>) -> Self {
        Self { connector, connection: None, committed }
    }

    /// Tells of commits until the sender is dropped and the last one was told of.
    pub(super) async fn run(mut self) {
        let mut is_telling = true;
        while self.committed.changed().await.is_ok() {
            let told = within(MAX_DELAY, self.tell()).await;
            if let Err(error) = &told {
                if is_telling {
                    tracing::warn!(
                        error = error as &dyn std::error::Error,
                        "followers are not told of new events, and look once a second"
                    );
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            is_telling = told.is_ok();
            tokio::time::sleep(GATHER_TIME).await;
        }
    }

    async fn tell(&mut self) -> Result<(), BatchError> {
        let mut connection = self.connection().await?;
        connection.execute(NOTIFY).await?;
        self.connection = Some(IdleConnection::from_now(connection));
        Ok(())
    }

    async fn connection(&mut self) -> Result<PgConnection, BatchError> {
        if let Some(idle) = self.connection.take()
            && let Some(connection) = idle.if_alive().await
        {
            return Ok(connection);
        }
        let mut connection = self.connector.open_before_readers().await?;
        session::set(&mut connection, &SETTINGS).await?;
        Ok(connection)
    }
}
