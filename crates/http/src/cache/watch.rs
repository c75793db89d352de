//! The task that keeps the cache up to date with events of other processes, and that says how long the cache may be used.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use identity_log::ReadError;
use identity_log::follow::Head;
use identity_log::read::{self, LogState};
use sqlx::PgPool;
use tokio::sync::watch;

use super::Cache;

/// The most events of other processes that are looked at one by one.
const LOOKED_AT: i64 = 10_000;

/// How often the log is looked at when nothing is heard of it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The least time between two looks, however much is heard.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// How long what is kept may be used after a look at the log: a database that stopped answering says nothing of keys
/// that were revoked meanwhile.
const TRUST: Duration = Duration::from_secs(1);

/// The task. Run it with [`Watch::run`].
#[derive(Debug)]
pub struct Watch {
    cache: Cache,
    pool: PgPool,
    head: watch::Receiver<Head>,
    state: Option<LogState>,
}

impl Watch {
    /// Watches over `cache` as long as somebody tells `head` where the log ends.
    pub fn new(cache: Cache, pool: PgPool, head: watch::Receiver<Head>) -> Self {
        Self { cache, pool, head, state: None }
    }

    /// Watches until nobody tells how far the log reaches any more.
    pub async fn run(mut self) {
        loop {
            let asked = Instant::now();
            let following = self.head.borrow_and_update().following;
            let looked = following && self.look().await;
            self.cache.trust(looked.then(|| asked + TRUST));
            if !looked {
                self.state = None;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            if self.news(asked + LOOK_AGAIN).await.is_err() {
                return self.cache.trust(None);
            }
        }
    }

    /// Waits until there is an event that this process has not seen, but no longer than this. An error means that nobody
    /// tells any more.
    async fn news(&mut self, until: Instant) -> Result<(), watch::error::RecvError> {
        let cache = &self.cache;
        let is_news = |head: &Head| head.following && head.position > cache.0.seen.load(Ordering::Acquire);
        match tokio::time::timeout_at(until.into(), self.head.wait_for(is_news)).await {
            Ok(Err(gone)) => Err(gone),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    async fn look(&mut self) -> bool {
        match tokio::time::timeout(TRUST, self.catch_up()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "answering without the cache");
                false
            }
            Err(_elapsed) => false,
        }
    }

    /// Where nothing was seen yet, all that is kept goes, after it is known from where on the log will be looked at:
    /// what is read later misses nothing. The same where a read model was made anew.
    async fn catch_up(&mut self) -> Result<(), ReadError> {
        let state = read::state(&self.pool).await?;
        let seen = self.cache.0.seen.load(Ordering::Acquire);
        let known = self.state.as_ref().is_some_and(|known| known.read_models == state.read_models);
        if !known || state.position - seen > LOOKED_AT {
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
