//! Being told of new events: a watch channel over the log's last position, fed by LISTEN, with a slow poll as a floor.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;

use crate::error::ReadError;
use crate::read;

/// How long a missed notification can delay a follower.
const POLL: Duration = Duration::from_secs(1);

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);

/// How far the log is known to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last position that was seen.
    pub position: i64,
    /// Whether news arrives. While it does not, nothing may be answered from what was remembered.
    pub following: bool,
}

/// The task that keeps a [`Head`] up to date. Run it with [`Follower::run`].
#[derive(Debug)]
pub struct Follower {
    pool: PgPool,
    head: watch::Sender<Head>,
}

impl Follower {
    /// A follower, and the channel on which it tells.
    pub fn new(pool: PgPool) -> (Self, watch::Receiver<Head>) {
        let (head, receiver) = watch::channel(Head { position: 0, following: false });
        (Self { pool, head }, receiver)
    }

    /// Follows until nobody watches any more; a lost connection is made anew.
    pub async fn run(self) {
        while !self.head.is_closed() {
            if let Err(error) = self.listen().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "not following the log, connecting again"
                );
            }
            self.head.send_modify(|head| head.following = false);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn listen(&self) -> Result<(), ReadError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen("identityd_log").await?;
        // Asked for after LISTEN, so nothing that was committed before falls between the two.
        self.tell(read::head(&self.pool).await?);
        while !self.head.is_closed() {
            let position = match tokio::time::timeout(POLL, listener.try_recv()).await {
                Ok(news) => match news? {
                    Some(news) => news.payload().parse().ok(),
                    None => return Ok(()),
                },
                Err(_elapsed) => None,
            };
            // Who appends says where the log ends then. Whatever else is said, and after a silence, the log is asked.
            match position {
                Some(position) => self.tell(position),
                None => self.tell(read::head(&self.pool).await?),
            }
        }
        Ok(())
    }

    fn tell(&self, position: i64) {
        self.head.send_if_modified(|head| {
            let news = Head { position, following: true };
            std::mem::replace(head, news) != news
        });
    }
}
