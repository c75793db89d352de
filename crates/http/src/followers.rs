//! What followers of history share: the feeds that wake them, and the pieces of history that they read then. Followers
//! that ask for the same events get them from one query.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use identity_log::feeds::Feeds;
use identity_log::history::Query;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::watch;

use crate::cursor::HistoryPlace;

/// How many pieces of history are cached, for followers that wake a little later than others.
const MAX_PIECES: usize = 64;

/// How many bytes they have together. A piece is as large as a single event can be.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Events as they are sent, the sequence up to which they were read, and the end of their history then.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) text: Bytes,
    pub(crate) after: i64,
    pub(crate) place: HistoryPlace,
}

/// The followers of a process.
pub(crate) struct Followers {
    feeds: Feeds,
    pieces: Cache<(HistoryPlace, Query), Arc<Piece>, PieceWeighter>,
}

/// The weight of a piece is its size in bytes. A small piece weighs more than its size: the cache then has [`MAX_PIECES`] at most.
#[derive(Debug, Clone)]
struct PieceWeighter;

impl Weighter<(HistoryPlace, Query), Arc<Piece>> for PieceWeighter {
    fn weight(&self, _: &(HistoryPlace, Query), piece: &Arc<Piece>) -> u64 {
        (piece.text.len() as u64).max(MAX_BYTES / MAX_PIECES as u64)
    }
}

impl fmt::Debug for Followers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Followers").finish_non_exhaustive()
    }
}

impl Followers {
    pub(crate) fn new(feeds: Feeds) -> Self {
        Self { feeds, pieces: Cache::with_weighter(MAX_PIECES, MAX_BYTES, PieceWeighter) }
    }

    /// The last sequence of an organization, as it grows.
    pub(crate) fn follow(&self, organization_id: &str) -> watch::Receiver<i64> {
        self.feeds.follow(organization_id)
    }

    /// The result of a query of the history that has this place: from the cache, from another follower that is reading it at
    /// present, or read now. Events never change, so a cached piece stays valid.
    pub(crate) async fn read<E>(
        &self,
        place: HistoryPlace,
        query: &Query,
        read: impl Future<Output = Result<Piece, E>>,
    ) -> Result<Arc<Piece>, E> {
        let key = (place, query.clone());
        self.pieces.get_or_insert_async(&key, async { read.await.map(Arc::new) }).await
    }
}
