//! Keys that were good a moment ago, so that not every request asks the database for its key again.
//!
//! What ends a key is an event: its own revocation, or the end of its identity. Events of this process drop the entry
//! before their caller hears of them, those of other processes as they arrive, and while the log cannot be followed
//! nothing is answered from here at all. Invariant: an entry was read after the last time that one was dropped.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use identity_domain::{Event, api_key, identity};
use identity_log::follow::Head;
use identity_log::read::{self, Ended};
use identity_log::{ReadError, Recorded};
use identity_projections::api_keys::Row;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// The most keys that are kept.
const MOST: usize = 10_000;

/// How often the log is looked at when nothing is heard of it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How much rest there is between two looks, however much is heard.
const REST: Duration = Duration::from_millis(10);

/// How long what is kept may be used after a look at the log: a database that stopped answering says nothing of keys
/// that were revoked meanwhile.
const TRUST: Duration = Duration::from_secs(1);

/// The keys that are known.
#[derive(Debug)]
pub(crate) struct KeyCache(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<Uuid, Arc<Row>>,
    drops: u64,
    trusted_until: Option<Instant>,
}

/// What became of a question for a key.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// It is good.
    Good(Arc<Row>),
    /// The database must be asked; the ticket says when that was decided.
    Unknown(Ticket),
}

/// How many times keys had been dropped when a question was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

impl KeyCache {
    /// An empty cache, and the watch that its owner must run for it to be used.
    pub(crate) fn new(pool: PgPool, head: watch::Receiver<Head>) -> (Self, KeyWatch) {
        let known = Arc::default();
        let watch = KeyWatch { known: Arc::downgrade(&known), pool, head, seen: None };
        (Self(known), watch)
    }

    /// The key with this id, if it may be answered from memory.
    pub(crate) fn recall(&self, id: Uuid) -> Recalled {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let trusted = known.trusted_until.is_some_and(|until| Instant::now() < until);
        let key = known.keys.get(&id).filter(|_| trusted);
        key.map_or(Recalled::Unknown(Ticket(known.drops)), |key| Recalled::Good(Arc::clone(key)))
    }

    /// Keeps what the database answered, unless a key was dropped since it was asked: it may have been this one.
    pub(crate) fn keep(&self, ticket: Ticket, key: &Arc<Row>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.drops == ticket.0 && known.keys.len() < MOST {
            known.keys.insert(key.id, Arc::clone(key));
        }
    }

    /// Drops the keys that these events end. Called before anybody is told of them.
    pub(crate) fn drop_ended(&self, events: &[Recorded]) {
        let ended: Vec<Ended> = events.iter().filter_map(ended).collect();
        drop_all(&self.0, &ended);
    }
}

fn ended(recorded: &Recorded) -> Option<Ended> {
    match &recorded.event {
        Event::ApiKey(api_key::Event::Revoked {}) => recorded.aggregate_id.parse().ok().map(Ended::Key),
        Event::Identity(identity::Event::Deleted { .. }) => {
            recorded.aggregate_id.parse().ok().map(Ended::Identity)
        }
        Event::ApiKey(_) | Event::Identity(_) | Event::Organization(_) | Event::VaultSecret(_) => None,
    }
}

fn drop_all(known: &RwLock<Known>, ended: &[Ended]) {
    if ended.is_empty() {
        return;
    }
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    known.drops += 1;
    for ended in ended {
        match ended {
            Ended::Key(id) => drop(known.keys.remove(id)),
            Ended::Identity(id) => known.keys.retain(|_, key| key.identity_id != Some(*id)),
        }
    }
}

/// The task that keeps a cache honest. Run it with [`KeyWatch::run`].
#[derive(Debug)]
pub struct KeyWatch {
    known: Weak<RwLock<Known>>,
    pool: PgPool,
    head: watch::Receiver<Head>,
    seen: Option<i64>,
}

impl KeyWatch {
    /// Watches until the cache is gone.
    pub async fn run(mut self) {
        while let Some(known) = self.known.upgrade() {
            let asked = Instant::now();
            let following = self.head.borrow_and_update().following;
            let looked = following && self.look(&known).await;
            known.write().unwrap_or_else(PoisonError::into_inner).trusted_until =
                looked.then(|| asked + TRUST);
            if !looked {
                self.seen = None;
            }
            drop(known);
            tokio::time::sleep(REST).await;
            // A follower that is gone tells nothing, and says that it is not following.
            if let Ok(Err(_gone)) = tokio::time::timeout(LOOK_AGAIN, self.head.changed()).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    async fn look(&mut self, known: &RwLock<Known>) -> bool {
        match tokio::time::timeout(TRUST, self.catch_up(known)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "keys are not cached");
                false
            }
            Err(_elapsed) => false,
        }
    }

    /// Where nothing was seen yet, all that is kept goes, after the position from which on the log will be looked at
    /// is known: what is read later misses nothing.
    async fn catch_up(&mut self, known: &RwLock<Known>) -> Result<(), ReadError> {
        let Some(seen) = self.seen else {
            self.seen = Some(read::head(&self.pool).await?);
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            known.drops += 1;
            known.keys.clear();
            return Ok(());
        };
        let (position, ended) = read::ended(&self.pool, seen).await?;
        drop_all(known, &ended);
        self.seen = Some(position);
        Ok(())
    }
}
