//! The task that applies events of other processes to the cache. Each time it has read the log, the cache may be used for
//! one second more.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use identity_log::ReadError;
use identity_log::follow::Head;
use identity_log::read::{self, LogState};
use sqlx::PgPool;
use tokio::sync::watch;

use super::Cache;

/// The maximum number of events that are applied one by one. If there are more, the cache is emptied.
const MAX_APPLIED_EVENTS: i64 = 10_000;

/// How often the log is read without a notification.
const READ_INTERVAL: Duration = Duration::from_millis(250);

/// The minimum time between two readings of the log.
const MIN_READ_INTERVAL: Duration = Duration::from_millis(5);

/// How long the cache may be used after the log was read. Without an answer of the database nobody knows whether a key was
/// revoked since.
const MAX_TRUST_TIME: Duration = Duration::from_secs(1);

/// The task. Run it with [`Watch::run`].
#[derive(Debug)]
pub struct Watch {
    cache: Cache,
    pool: PgPool,
    head: watch::Receiver<Head>,
    state: Option<LogState>,
}

impl Watch {
    /// A watch over `cache`. `head` is the last position of the log.
    pub fn new(cache: Cache, pool: PgPool, head: watch::Receiver<Head>) -> Self {
        Self { cache, pool, head, state: None }
    }

    /// Runs until the sender of `head` is dropped.
    pub async fn run(mut self) {
        loop {
            let asked = Instant::now();
            let following = self.head.borrow_and_update().following;
            let looked = following && self.look().await;
            self.cache.trust(looked.then(|| asked + MAX_TRUST_TIME));
            if !looked {
                self.state = None;
            }
            tokio::time::sleep(MIN_READ_INTERVAL).await;
            if self.news(asked + READ_INTERVAL).await.is_err() {
                return self.cache.trust(None);
            }
        }
    }

    /// Waits for an event that has not been applied, at most until `until`. Fails if the sender of `head` is dropped.
    async fn news(&mut self, until: Instant) -> Result<(), watch::error::RecvError> {
        let cache = &self.cache;
        let is_news = |head: &Head| head.following && head.position > cache.0.seen.load(Ordering::Acquire);
        match tokio::time::timeout_at(until.into(), self.head.wait_for(is_news)).await {
            Ok(Err(gone)) => Err(gone),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Reads the log. Returns whether that succeeded in time.
    async fn look(&mut self) -> bool {
        match tokio::time::timeout(MAX_TRUST_TIME, self.catch_up()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "answering without the cache");
                false
            }
            Err(_elapsed) => false,
        }
    }

    /// Applies the events since the last reading. Empties the cache instead, after noting the position of the log, if this
    /// is the first reading, if a read model was rebuilt since, or if there are more than 10,000 events.
    async fn catch_up(&mut self) -> Result<(), ReadError> {
        let state = read::state(&self.pool).await?;
        let seen = self.cache.0.seen.load(Ordering::Acquire);
        let known = self.state.as_ref().is_some_and(|known| known.read_models == state.read_models);
        if !known || state.position - seen > MAX_APPLIED_EVENTS {
            self.cache.0.seen.store(state.position, Ordering::Release);
            self.cache.forget_all();
        } else if state.position > seen {
            let changes = read::changes(&self.pool, seen, state.position).await?;
            self.cache.learn(seen, state.position, changes.into_iter());
        }
        self.state = Some(state);
        Ok(())
    }
}
