//! News of new events of every process: a watch channel with the last position of the log. LISTEN feeds it; if no
//! notification arrives for 1 s, the log is asked.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;

use super::pages;
use crate::error::ReadError;
use crate::proof::key_lock;
use crate::sole::RECALL;
use crate::write::notifier::CHANNEL;

/// After how long without a notification the log is asked. A lost notification delays a follower by this at most.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long Postgres may take to answer a question of the follower. Each of them is answered within milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the follower waits before it connects again.
const RECONNECT_DELAY: Duration = Duration::from_millis(250);

/// The end of the log, as this process was told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last position that this process was told of.
    pub position: i64,
    /// Whether the follower is connected. While it is not, nothing may be answered from the cache.
    pub following: bool,
    /// How often a process that wants to commit has recalled the sole one ([`crate::sole`]).
    pub recalls: u64,
}

/// The task that keeps a [`Head`] up to date. Run it with [`Follower::run`].
#[derive(Debug)]
pub struct Follower {
    pool: PgPool,
    /// The first connection, until it is used.
    first: Option<PgListener>,
    head: watch::Sender<Head>,
}

impl Follower {
    /// A follower, and the channel that it feeds; `None` while somebody replaces the signing key. From here on nobody can, as long
    /// as the follower is connected.
    pub async fn connect(pool: PgPool) -> Result<Option<(Self, watch::Receiver<Head>)>, sqlx::Error> {
        let first = in_time(key_lock::listener(&pool)).await?;
        let (head, receiver) = watch::channel(Head { position: 0, following: false, recalls: 0 });
        Ok(first.map(|first| (Self { pool, first: Some(first), head }, receiver)))
    }

    /// Follows until every receiver is dropped. Connects again when the connection is lost.
    pub async fn run(mut self) {
        while !self.head.is_closed() {
            if let Err(error) = self.listen().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "not following the log, connecting again"
                );
            }
            self.head.send_modify(|head| head.following = false);
            tokio::time::sleep(RECONNECT_DELAY).await;
        }
    }

    async fn listen(&mut self) -> Result<(), ReadError> {
        let connected = match self.first.take() {
            Some(first) => Some(first),
            None => in_time(key_lock::listener(&self.pool)).await?,
        };
        let Some(mut listener) = connected else {
            tracing::warn!("somebody replaces the signing key");
            return Ok(());
        };
        in_time(listener.listen(CHANNEL)).await?;
        // The head is read after LISTEN, so no commit between the two is missed.
        self.tell(in_time(pages::head(&mut listener)).await?);
        while !self.head.is_closed() {
            let position = match tokio::time::timeout(MAX_SILENCE, listener.try_recv()).await {
                Ok(news) => match news? {
                    Some(news) if news.payload() == RECALL => {
                        self.head.send_modify(|head| head.recalls += 1);
                        continue;
                    }
                    Some(news) => news.payload().parse().ok(),
                    None => return Ok(()),
                },
                Err(_elapsed) => None,
            };
            // A notification contains a position. Those of two processes can be in another order than their commits: after one
            // that does not lead further, and after silence, the log is asked.
            match position {
                Some(position) if position > self.head.borrow().position => self.tell(position),
                _ => self.tell(in_time(pages::head(&mut listener)).await?),
            }
        }
        Ok(())
    }

    fn tell(&self, position: i64) {
        self.head.send_if_modified(|head| {
            let news = Head { position, following: true, ..*head };
            std::mem::replace(head, news) != news
        });
    }
}

/// Waits for an answer of Postgres, but not for ever: a machine that hangs does not close its connections.
async fn in_time<T, E: From<sqlx::Error>>(asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let late = |_elapsed| E::from(sqlx::Error::Io(ErrorKind::TimedOut.into()));
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.map_err(late)?
}
