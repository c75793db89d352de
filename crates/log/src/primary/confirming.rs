//! The task that finds out whether the primary can still commit, where commits wait for a standby.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::{Primary, Role};
use crate::session;

/// How often something is committed. What is kept in memory may be used for a second after the last confirmation.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(300);

/// The task. Run it with [`Confirming::run`].
#[derive(Debug)]
pub struct Confirming {
    primary: Primary,
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Confirming {
    /// A task that connects with these options.
    pub fn new(primary: Primary, options: PgConnectOptions) -> Self {
        let options = options.application_name("identityd primary");
        Self { primary, options, connection: None }
    }

    /// Commits as long as commits wait for a standby. Never returns.
    ///
    /// A commit that is not confirmed has no time limit but the silence of the database. Its session would stay behind and
    /// wait for the standby, and a second one would wait beside it.
    pub async fn run(mut self) {
        let mut role = self.primary.0.role.subscribe();
        while role.wait_for(|role| *role == Role::Synchronous).await.is_ok() {
            let (asked, primary) = (Instant::now(), self.primary.clone());
            match primary.unless_silent(self.commit()).await {
                Ok(Ok(())) => primary.confirmed(asked),
                Ok(Err(error)) => self.give_up(&error),
                Err(silent) => self.give_up(&silent),
            }
            tokio::time::sleep(CONFIRM_INTERVAL).await;
        }
    }

    fn give_up(&mut self, error: &(dyn std::error::Error + 'static)) {
        tracing::warn!(error, "cannot find out whether the database still commits");
        self.connection = None;
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let began = Instant::now();
        super::commit_nothing(&mut connection).await?;
        super::confirm_if_slow(&mut connection, began).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        session::set(&mut connection, &[("synchronous_commit", "on")]).await?;
        Ok(connection)
    }
}
