//! How many connections to the database a key, and an organization, use at the same time. What exceeds that waits for its turn
//! among the requests of the same key and organization, and so not in front of everybody else's. Of the pieces of its long answers
//! a key reads one at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use identity_projections::api_keys::Row as KeyRow;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::OfHolders;

/// The turns of all keys and organizations.
#[derive(Debug)]
pub(crate) struct Turns {
    keys: Queues<Uuid>,
    organizations: Queues<String>,
    pieces: Queues<Uuid>,
}

/// A turn of a key and its organization. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _piece: Option<Taken<Uuid>>,
    _key: Taken<Uuid>,
    _organization: Taken<String>,
}

impl Turns {
    /// So many turns at the same time, and at least one.
    pub(super) fn new(most: OfHolders) -> Self {
        let [keys, pieces] = [most.key, 1].map(Queues::new);
        Self { keys, organizations: Queues::new(most.organization), pieces }
    }

    /// Waits for the turn of a request of this key.
    pub(crate) async fn take(&self, key: &KeyRow) -> Turn {
        // In this order, so that the requests of one key do not keep turns of their organization while they wait.
        let of_key = self.keys.take(&key.id).await;
        Turn {
            _piece: None,
            _key: of_key,
            _organization: self.organizations.take(&key.organization_id).await,
        }
    }

    /// Waits for the turn of a piece of a long answer.
    pub(crate) async fn take_for_piece(&self, key: &KeyRow) -> Turn {
        let piece = self.pieces.take(&key.id).await;
        Turn { _piece: Some(piece), ..self.take(key).await }
    }
}

/// The queues of all holders that use one at present. A queue gives turns in the order in which they are asked for.
#[derive(Debug, Clone)]
struct Queues<K> {
    queues: Arc<Mutex<HashMap<K, Arc<Semaphore>>>>,
    most: usize,
}

/// A turn of one holder. The permit is given back before the queue is looked at.
#[derive(Debug)]
struct Taken<K: Hash + Eq> {
    _permit: Option<OwnedSemaphorePermit>,
    _queue: Queue<K>,
}

/// The queue of one holder.
#[derive(Debug)]
struct Queue<K: Hash + Eq> {
    all: Queues<K>,
    holder: K,
    turns: Arc<Semaphore>,
}

impl<K: Hash + Eq + Clone> Queues<K> {
    fn new(most: usize) -> Self {
        Self { queues: Arc::default(), most: most.max(1) }
    }

    async fn take(&self, holder: &K) -> Taken<K> {
        let queue = self.of(holder);
        // It never fails, since nothing closes the semaphore.
        let permit = Arc::clone(&queue.turns).acquire_owned().await.ok();
        Taken { _permit: permit, _queue: queue }
    }

    fn of(&self, holder: &K) -> Queue<K> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = queues.entry(holder.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.most)));
        Queue { turns: Arc::clone(turns), all: self.clone(), holder: holder.clone() }
    }
}

/// A queue that nobody uses any more is forgotten.
impl<K: Hash + Eq> Drop for Queue<K> {
    fn drop(&mut self) {
        let mut queues = self.all.queues.lock().unwrap_or_else(PoisonError::into_inner);
        // One is in the map, and one here.
        if Arc::strong_count(&self.turns) == 2 {
            queues.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use identity_projections::api_keys::{KeyScope, Row as KeyRow};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::Turns;
    use crate::limits::OfHolders;

    fn key(id: u128, organization_id: &str) -> KeyRow {
        KeyRow {
            id: Uuid::from_u128(id),
            organization_id: organization_id.to_owned(),
            scope: KeyScope::Admin,
            identity_id: None,
            label: String::new(),
            description: None,
            secret_sha256: vec![],
            last4: String::new(),
            created_by: String::new(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            revoked_at: None,
            expires_at: None,
            previous_sha256: None,
            previous_valid_until: None,
            rotated_at: None,
        }
    }

    #[tokio::test]
    async fn a_key_and_an_organization_have_their_turns_and_leave_the_others_theirs() {
        let turns = Turns::new(OfHolders { key: 2, organization: 3 });
        let (one, other, stranger) = (key(1, "a"), key(2, "a"), key(3, "b"));
        let taken = (turns.take(&one).await, turns.take(&one).await);
        assert!(turns.take(&one).now_or_never().is_none(), "the key has as many as it may");
        let third = turns.take(&other).await;
        assert!(turns.take(&other).now_or_never().is_none(), "the organization has as many as it may");
        assert!(turns.take(&stranger).now_or_never().is_some());
        drop(taken);
        assert!(turns.take(&one).now_or_never().is_some());
        drop(third);
        assert!(turns.keys.queues.lock().unwrap().is_empty(), "who uses nothing takes no memory");
        assert!(turns.organizations.queues.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_key_reads_one_piece_at_a_time() {
        let turns = Turns::new(OfHolders { key: 2, organization: 2 });
        let one = key(1, "a");
        let piece = turns.take_for_piece(&one).await;
        assert!(turns.take_for_piece(&one).now_or_never().is_none());
        assert!(turns.take(&one).now_or_never().is_some(), "a request does not wait for pieces");
        drop(piece);
        assert!(turns.take_for_piece(&one).now_or_never().is_some());
    }
}
