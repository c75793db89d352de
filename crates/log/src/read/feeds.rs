//! Wakes the followers of single organizations. A follower is woken by events of its own organization only. For each
//! notification of the log, one query reads the last sequences of all followed organizations, however many followers
//! they have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use super::follow::Head;

/// How long Postgres may take to say how far the histories go.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The wait before the next attempt after the database failed.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The last known sequence of each organization that is followed; `None` after the service was stopped.
type Heads = Option<HashMap<String, watch::Sender<i64>>>;

/// The organizations that are followed, with a channel for each. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feeds {
    heads: Arc<Mutex<Heads>>,
    wanted: Arc<Notify>,
}

/// The task that wakes the followers of [`Feeds`]. Run it with [`Feeding::run`].
#[derive(Debug)]
pub struct Feeding {
    feeds: Feeds,
    pool: PgPool,
    head: watch::Receiver<Head>,
}

impl Feeds {
    /// Feeds of a log, and the task that feeds them whenever `head` changes.
    pub fn new(pool: PgPool, head: watch::Receiver<Head>) -> (Self, Feeding) {
        let feeds = Self { heads: Arc::new(Mutex::new(Some(HashMap::new()))), wanted: Arc::default() };
        (feeds.clone(), Feeding { feeds, pool, head })
    }

    /// The last sequence of an organization, as it grows; 0 until it is known. The channel is closed when the service
    /// stops.
    pub fn follow(&self, organization_id: &str) -> watch::Receiver<i64> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(heads) = heads.as_mut() else { return watch::channel(0).1 };
        if let Some(sender) = heads.get(organization_id) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        heads.insert(organization_id.to_owned(), sender);
        self.wanted.notify_one();
        receiver
    }

    /// The organizations that are followed. Forgets those without followers.
    fn followed(&self) -> Vec<String> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(heads) = heads.as_mut() else { return vec![] };
        heads.retain(|_, sender| sender.receiver_count() > 0);
        heads.keys().cloned().collect()
    }

    fn tell(&self, known: Vec<(String, i64)>) {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        for (organization_id, sequence) in known {
            if let Some(sender) = heads.as_ref().and_then(|heads| heads.get(&organization_id)) {
                sender.send_if_modified(|told| std::mem::replace(told, sequence) != sequence);
            }
        }
    }

    fn close(&self) {
        *self.heads.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Feeding {
    /// Runs until the sender of `head` is dropped. Then closes all channels.
    pub async fn run(mut self) {
        loop {
            let is_over = tokio::select! {
                changed = self.head.changed() => changed.is_err(),
                () = self.feeds.wanted.notified() => false,
            };
            if is_over {
                return self.feeds.close();
            }
            while let Err(error) = self.feed().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot tell followers of history");
                if self.head.has_changed().is_err() {
                    break;
                }
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }

    /// Tells followers how far their histories go, unless Postgres takes too long to say so.
    async fn feed(&self) -> Result<(), sqlx::Error> {
        let late = |_elapsed| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(QUERY_TIMEOUT, self.look()).await.map_err(late)?
    }

    async fn look(&self) -> Result<(), sqlx::Error> {
        let followed = self.feeds.followed();
        if followed.is_empty() {
            return Ok(());
        }
        let known = sqlx::query_as(
            "select organization_id, sequence from organization_heads where organization_id = any($1)",
        )
        .bind(&followed)
        .fetch_all(&self.pool)
        .await?;
        self.feeds.tell(known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;
    use tokio::sync::watch;

    use super::Feeds;
    use crate::read::follow::Head;

    #[tokio::test]
    async fn only_followers_of_an_organization_are_woken_by_its_events() {
        let pool = PgPoolOptions::new().connect_lazy("postgres://nobody@localhost/nowhere").unwrap();
        let (_teller, head) = watch::channel(Head { position: 0, following: true, recalls: 0 });
        let (feeds, _feeding) = Feeds::new(pool, head);
        let [mut busy, silent] = ["busy", "silent"].map(|organization| feeds.follow(organization));
        assert_eq!(feeds.followed().len(), 2);
        feeds.tell(vec![("busy".to_owned(), 7), ("silent".to_owned(), 0), ("unheard-of".to_owned(), 1)]);
        assert!(busy.has_changed().unwrap() && !silent.has_changed().unwrap());
        assert_eq!(*busy.borrow_and_update(), 7);
        feeds.tell(vec![("busy".to_owned(), 5)]);
        assert_eq!(*busy.borrow(), 5, "a backup was restored");
        drop(busy);
        assert_eq!(feeds.followed(), ["silent"], "nobody asks for what nobody follows");
        feeds.close();
        assert!(silent.has_changed().is_err() && feeds.follow("late").has_changed().is_err());
    }
}
