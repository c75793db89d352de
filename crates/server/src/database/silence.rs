//! Whether the database still answers while a command works. A machine that hangs, or a network that drops packets, closes no
//! connection, and whoever waits for it would wait for ever. So a small question is asked beside the work, over a connection that was
//! opened before those of the work: what makes these silent makes that one silent, too. A statement may take as long as it needs.
//!
//! A service that runs does not need this watch: it has its own one (`identity_log::primary`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use identity_log::primary::Silent;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};

/// How often the question is asked.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the connection may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection over which the question is asked, and how to open another one.
#[derive(Debug)]
pub(super) struct Watch {
    options: PgConnectOptions,
    kept: Mutex<Option<PgConnection>>,
}

impl Watch {
    pub(super) fn over(connection: PgConnection, options: PgConnectOptions) -> Self {
        Self { options, kept: Mutex::new(Some(connection)) }
    }

    /// Waits for work, unless a question is not answered within `limit`. Questions are also asked over new connections: one that
    /// broke, which the work learns by itself, is replaced.
    pub(super) async fn unless_silent<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Silent> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            silent = self.falls_silent(limit) => Err(silent),
        }
    }

    /// The first question is asked after a moment, since the connection was opened just now. Asked at once, it could take the session
    /// that the check for poolers has just used.
    async fn falls_silent(&self, limit: Duration) -> Silent {
        loop {
            sleep(ASK_INTERVAL).await;
            if timeout(limit, self.answers()).await.is_err() {
                return Silent(limit);
            }
        }
    }

    /// Whether the server answers, if only with an error. Does not return if nothing comes back.
    pub(super) async fn answers(&self) -> bool {
        if let Some(mut connection) = self.take()
            && connection.ping().await.is_ok()
        {
            self.keep(connection);
            return true;
        }
        match PgConnection::connect_with(&self.options).await {
            Ok(connection) => {
                self.keep(connection);
                true
            }
            Err(error) => error.as_database_error().is_some(),
        }
    }

    /// Ends the connection.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.take()
            && timeout(CLOSE_TIMEOUT, connection.close()).await.is_err()
        {
            tracing::debug!("the connection that asks whether the database answers does not close");
        }
    }

    fn take(&self) -> Option<PgConnection> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, connection: PgConnection) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }
}
