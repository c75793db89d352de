//! The database, as one request uses it. Before a request takes a connection, it waits for a turn: a key, and an organization, have
//! only so many at the same time (`limits/turns.rs`). The request keeps its turn until it is answered, or gives it back before.
//!
//! While the database is silent, requests wait here until they are given up (`around.rs`). If they tried to connect, a machine that
//! wakes up would find all their connections waiting.

use std::sync::Arc;

use identity_log::primary::Primary;
use identity_projections::api_keys::Row as KeyRow;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::limits::{Turn, Turns};

/// The database for one request.
#[derive(Debug)]
pub(crate) struct Database {
    pool: PgPool,
    primary: Primary,
    turns: Arc<Turns>,
    key: Arc<KeyRow>,
    turn: TurnSlot,
}

/// The turn of a request, once it has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct TurnSlot(Arc<Mutex<Option<Turn>>>);

impl TurnSlot {
    /// Ends the turn, if there is one.
    pub(crate) async fn give_back(&self) {
        drop(self.0.lock().await.take());
    }
}

impl Database {
    pub(crate) fn new(
        pool: &PgPool,
        primary: &Primary,
        turns: &Arc<Turns>,
        key: &Arc<KeyRow>,
        turn: TurnSlot,
    ) -> Self {
        let (pool, primary) = (pool.clone(), primary.clone());
        Self { pool, primary, turns: Arc::clone(turns), key: Arc::clone(key), turn }
    }

    /// The same database with a turn of its own, for what may go on after the request was answered.
    pub(crate) fn with_own_turn(self) -> Self {
        Self { turn: TurnSlot::default(), ..self }
    }

    /// The connections, once it is the turn of this request.
    pub(crate) async fn pool(&self) -> &PgPool {
        self.primary.answers().await;
        let mut turn = self.turn.0.lock().await;
        if turn.is_none() {
            *turn = Some(self.turns.take(&self.key).await);
        }
        &self.pool
    }

    /// The connections, once it is the turn of this request for a large read.
    pub(crate) async fn pool_for_large(&self) -> &PgPool {
        self.primary.answers().await;
        let mut turn = self.turn.0.lock().await;
        if !turn.as_ref().is_some_and(Turn::is_large) {
            *turn = None;
            *turn = Some(self.turns.take_large(&self.key).await);
        }
        &self.pool
    }

    /// The connections, for what takes its turns by itself: pieces of a long answer.
    pub(crate) fn pool_of_pieces(&self) -> &PgPool {
        &self.pool
    }

    /// Ends the turn. The next use of the database waits for another one.
    pub(crate) async fn give_back(&self) {
        self.turn.give_back().await;
    }
}
