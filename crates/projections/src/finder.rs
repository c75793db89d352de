//! Looks up identities and keys for many callers at once. All lookups that arrive while a query runs are answered by
//! the next query, because a round trip to Postgres costs as much as the lookup itself. One connection is used, however
//! many callers there are.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::api_keys;
use crate::identities::{self, IdentityBody, IdentityQuery};

/// How many lookups one query answers at most.
const MAX_LOOKUPS_PER_QUERY: usize = 256;

/// How long a query may take. All further lookups wait for it, so a connection that is dead must not block them for long.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Something that can be looked up.
pub trait Lookup: Sized + Send + Sync + 'static {
    /// The result of a lookup.
    type Output: Clone + Send + Sync + 'static;

    /// The result of each lookup, in order.
    fn find(
        pool: &PgPool,
        wanted: &[Self],
    ) -> impl Future<Output = Result<Vec<Option<Self::Output>>, sqlx::Error>> + Send;
}

impl Lookup for IdentityQuery {
    type Output = IdentityBody;

    async fn find(pool: &PgPool, wanted: &[Self]) -> Result<Vec<Option<IdentityBody>>, sqlx::Error> {
        identities::find(pool, wanted).await
    }
}

/// The id of a key that may be valid.
#[derive(Debug, Clone, Copy)]
pub struct KeyId(pub Uuid);

impl Lookup for KeyId {
    type Output = Arc<api_keys::Row>;

    async fn find(pool: &PgPool, wanted: &[Self]) -> Result<Vec<Option<Arc<api_keys::Row>>>, sqlx::Error> {
        let ids: Vec<Uuid> = wanted.iter().map(|KeyId(id)| *id).collect();
        let found: Vec<Arc<api_keys::Row>> =
            api_keys::find_active(pool, &ids).await?.into_iter().map(Arc::new).collect();
        Ok(ids.iter().map(|id| found.iter().find(|row| row.id == *id).cloned()).collect())
    }
}

/// Looks things up. Cheap to clone.
#[derive(Debug)]
pub struct Finder<W: Lookup> {
    lookups: mpsc::Sender<PendingLookup<W>>,
}

impl<W: Lookup> Clone for Finder<W> {
    fn clone(&self) -> Self {
        Self { lookups: self.lookups.clone() }
    }
}

/// The task that runs the queries of a [`Finder`]. Run it with [`Finding::run`].
#[derive(Debug)]
pub struct Finding<W: Lookup> {
    lookups: mpsc::Receiver<PendingLookup<W>>,
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
struct PendingLookup<W: Lookup> {
    wanted: W,
    reply: oneshot::Sender<Result<Option<W::Output>, FindError>>,
}

impl<W: Lookup> Finder<W> {
    /// A finder in this database, and its task, which ends when the last clone of the finder is dropped.
    pub fn new(pool: PgPool) -> (Self, Finding<W>) {
        let (sender, lookups) = mpsc::channel(MAX_LOOKUPS_PER_QUERY);
        (Self { lookups: sender }, Finding { lookups, pool })
    }

    /// Looks something up. The result is of a moment after this call.
    pub async fn find(&self, wanted: W) -> Result<Option<W::Output>, FindError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.lookups.send(PendingLookup { wanted, reply }).await;
        sent.map_err(|_| FindError::Stopped)?;
        answer.await.map_err(|_| FindError::Stopped)?
    }
}

impl<W: Lookup> Finding<W> {
    /// Answers lookups until every clone of the [`Finder`] is dropped.
    pub async fn run(mut self) {
        let mut lookups = Vec::with_capacity(MAX_LOOKUPS_PER_QUERY);
        while self.lookups.recv_many(&mut lookups, MAX_LOOKUPS_PER_QUERY).await > 0 {
            self.answer(&mut lookups).await;
        }
    }

    async fn answer(&self, lookups: &mut Vec<PendingLookup<W>>) {
        lookups.retain(|lookup| !lookup.reply.is_closed());
        let (wanted, replies): (Vec<_>, Vec<_>) =
            lookups.drain(..).map(|PendingLookup { wanted, reply }| (wanted, reply)).unzip();
        if wanted.is_empty() {
            return;
        }
        let answers = match tokio::time::timeout(QUERY_TIMEOUT, W::find(&self.pool, &wanted)).await {
            Ok(Ok(found)) => found.into_iter().map(Ok).collect(),
            Ok(Err(error)) => vec![Err(FindError::Database(Arc::new(error))); wanted.len()],
            Err(_elapsed) => vec![Err(FindError::Late); wanted.len()],
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            // If the caller went away, the answer is dropped.
            drop(reply.send(answer));
        }
    }
}
