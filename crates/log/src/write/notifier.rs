//! Tells the followers of every process that there are new events.
//!
//! The transaction that appends does not do it: Postgres puts notifications in the order of their transactions, so it commits
//! transactions with notifications one after the other, in all databases of the server, each until it is on disk. This one writes
//! nothing, so it keeps nobody waiting. Commits that follow each other closely are told of together.
//!
//! A notification may be late, or missing: if the process dies after a commit, or if the connection breaks. Followers also look by
//! themselves.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::watch;

use super::connection::{Connector, IdleConnection, within};
use crate::error::BatchError;

/// How long a notification may take. Followers look more often than that.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// How long nobody is told after a failure.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// The channel on which followers listen.
pub(crate) const CHANNEL: &str = "identityd_log";

/// The task that tells the followers.
pub(super) struct Notifier {
    connector: Connector,
    connection: Option<IdleConnection>,
    /// The last position that this process has committed.
    committed: watch::Receiver<i64>,
}

impl Notifier {
    pub(super) fn new(connector: Connector, committed: watch::Receiver<i64>) -> Self {
        Self { connector, connection: None, committed }
    }

    /// Tells of commits until the sender is dropped and the last one was told of.
    pub(super) async fn run(mut self) {
        while self.committed.changed().await.is_ok() {
            let position = *self.committed.borrow_and_update();
            if let Err(error) = within(MAX_DELAY, self.tell(position)).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    position,
                    "followers were not told of new events"
                );
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }

    async fn tell(&mut self, position: i64) -> Result<(), BatchError> {
        let mut connection: PgConnection = self.connector.open_or(self.connection.take()).await?;
        sqlx::query("select pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(position.to_string())
            .execute(&mut connection)
            .await?;
        self.connection = Some(IdleConnection::from_now(connection));
        Ok(())
    }
}
