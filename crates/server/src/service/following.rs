//! The tasks that follow the log, and watch whether the database is still the primary.

use anyhow::{Context as _, ensure};
use identity_http::cache::Cache;
use identity_http::cache::watch::Watch;
use identity_log::Log;
use identity_log::follow::{Follower, Head};
use identity_log::primary::Primary;
use identity_log::primary::confirming::Confirming;
use identity_log::proof::introductions;
use identity_proof::SigningKey;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::pool::reading_options;

/// The tasks.
#[derive(Debug)]
pub(super) struct Following {
    follower: JoinHandle<()>,
    cache_watch: JoinHandle<()>,
    confirming: JoinHandle<()>,
}

impl Following {
    /// Starts them, and returns the channel with the last position of the log. From then on the signing key cannot be
    /// replaced, so it is checked here that it is the present one.
    pub(super) async fn start(
        database_url: &SecretString,
        pool: &PgPool,
        key: &SigningKey,
        log: &Log,
        cache: &Cache,
        primary: &Primary,
    ) -> anyhow::Result<(Self, watch::Receiver<Head>)> {
        let connected = Follower::connect(pool.clone()).await.context("cannot follow the log")?;
        let (follower, head) =
            connected.context("the signing key is being replaced: start again when that is done")?;
        let is_replaced =
            introductions::is_replaced(pool, key).await.context("cannot look the signing key up")?;
        ensure!(!is_replaced, "this signing key was replaced (identityd audit rotate-key): give the new one");
        let options = reading_options(database_url)?;
        let confirming = Confirming::new(primary.clone(), options.clone());
        let cache_watch = Watch::new(cache.clone(), log.process(), primary.clone(), options, head.clone());
        let following = Self {
            follower: tokio::spawn(follower.run()),
            cache_watch: tokio::spawn(cache_watch.run()),
            confirming: tokio::spawn(confirming.run()),
        };
        Ok((following, head))
    }

    /// Ends them. Live streams never end by themselves; they end when the follower ends. The follower returns nothing
    /// but that it was cancelled, so its result is dropped.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.follower.abort();
        drop(self.follower.await);
        self.confirming.abort();
        self.cache_watch.await.context("the task that keeps the cache current was cut off")
    }
}
