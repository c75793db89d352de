//! Looks up single identities for many callers at once. All lookups that arrive while a query runs are answered by
//! the next query, because a round trip to Postgres costs as much as the lookup itself.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::visible::{IdentityBody, IdentityQuery, find};

/// How many lookups one query answers at most.
const MAX_LOOKUPS_PER_QUERY: usize = 256;

/// How long a query may take. All further lookups wait for it, so a connection that is dead must not block them for long.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks up identities. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Finder {
    lookups: mpsc::Sender<Lookup>,
}

/// The task that runs the queries of a [`Finder`]. Run it with [`Finding::run`].
#[derive(Debug)]
pub struct Finding {
    lookups: mpsc::Receiver<Lookup>,
    pool: PgPool,
}

/// Why a lookup failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FindError {
    /// Postgres refused the query, or was unavailable. All lookups of the query get this error.
    #[error("database error")]
    Database(#[source] Arc<sqlx::Error>),
    /// Postgres did not answer within 5 s.
    #[error("the database did not answer in time")]
    Late,
    /// The task has ended.
    #[error("the service is stopping")]
    Stopped,
}

#[derive(Debug)]
struct Lookup {
    query: IdentityQuery,
    reply: oneshot::Sender<Result<Option<IdentityBody>, FindError>>,
}

impl Finder {
    /// A finder in this database, and its task, which ends when the last clone of the finder is dropped.
    pub fn new(pool: PgPool) -> (Self, Finding) {
        let (sender, lookups) = mpsc::channel(MAX_LOOKUPS_PER_QUERY);
        (Self { lookups: sender }, Finding { lookups, pool })
    }

    /// The identity as it is at a moment after this is called.
    pub async fn find(&self, query: IdentityQuery) -> Result<Option<IdentityBody>, FindError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.lookups.send(Lookup { query, reply }).await;
        sent.map_err(|_| FindError::Stopped)?;
        answer.await.map_err(|_| FindError::Stopped)?
    }
}

impl Finding {
    /// Answers lookups until every clone of the [`Finder`] is dropped.
    pub async fn run(mut self) {
        let mut lookups = Vec::with_capacity(MAX_LOOKUPS_PER_QUERY);
        while self.lookups.recv_many(&mut lookups, MAX_LOOKUPS_PER_QUERY).await > 0 {
            self.answer(&mut lookups).await;
        }
    }

    async fn answer(&self, lookups: &mut Vec<Lookup>) {
        lookups.retain(|lookup| !lookup.reply.is_closed());
        let (queries, replies): (Vec<_>, Vec<_>) =
            lookups.drain(..).map(|Lookup { query, reply }| (query, reply)).unzip();
        if queries.is_empty() {
            return;
        }
        let answers = match tokio::time::timeout(QUERY_TIMEOUT, find(&self.pool, &queries)).await {
            Ok(Ok(found)) => found.into_iter().map(Ok).collect(),
            Ok(Err(error)) => vec![Err(FindError::Database(Arc::new(error))); queries.len()],
            Err(_elapsed) => vec![Err(FindError::Late); queries.len()],
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            // A caller that went away needs no answer.
            drop(reply.send(answer));
        }
    }
}
