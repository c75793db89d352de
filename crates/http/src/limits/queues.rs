//! Queues of holders: each holder has so many turns at the same time, and who wants more waits in the queue of its holder.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The queues of all holders that use one at present. A queue gives turns in the order in which they are asked for.
#[derive(Debug, Clone)]
pub(super) struct Queues<K> {
    queues: Arc<Mutex<HashMap<K, Used>>>,
    most: usize,
}

/// The queue of a holder, and by how many it is used.
#[derive(Debug)]
struct Used {
    turns: Arc<Semaphore>,
    users: usize,
}

/// Turns of one holder. The permits are given back before the queue is left.
#[derive(Debug)]
pub(super) struct Taken<K: Hash + Eq> {
    _permits: Option<OwnedSemaphorePermit>,
    _place: Place<K>,
}

/// A place in the queue of one holder. A queue that nobody uses any more is forgotten.
#[derive(Debug)]
struct Place<K: Hash + Eq> {
    all: Queues<K>,
    holder: K,
}

impl<K: Hash + Eq + Clone> Queues<K> {
    /// So many turns of each holder at the same time, and at least one.
    pub(super) fn new(most: usize) -> Self {
        Self { queues: Arc::default(), most: most.max(1) }
    }

    /// Waits until this holder may have so many turns more. Who asks for more than there are gets all of them.
    pub(super) async fn take(&self, holder: &K, count: usize) -> Taken<K> {
        let (turns, place) = self.join(holder);
        // It never fails, since nothing closes the semaphore.
        Taken { _permits: turns.acquire_many_owned(self.possible(count)).await.ok(), _place: place }
    }

    /// The same without waiting; `None` if the holder has too many at present.
    pub(super) fn try_take(&self, holder: &K, count: usize) -> Option<Taken<K>> {
        let (turns, place) = self.join(holder);
        let permits = turns.try_acquire_many_owned(self.possible(count)).ok()?;
        Some(Taken { _permits: Some(permits), _place: place })
    }

    fn possible(&self, count: usize) -> u32 {
        u32::try_from(count.min(self.most)).unwrap_or(u32::MAX)
    }

    /// Whether no holder has a turn or waits for one.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.queues.lock().unwrap().is_empty()
    }

    fn join(&self, holder: &K) -> (Arc<Semaphore>, Place<K>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Used { turns: Arc::new(Semaphore::new(self.most)), users: 0 };
        let queue = queues.entry(holder.clone()).or_insert_with(new);
        queue.users += 1;
        (Arc::clone(&queue.turns), Place { all: self.clone(), holder: holder.clone() })
    }
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut queues = self.all.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(&self.holder) {
            queue.users -= 1;
            if queue.users == 0 {
                queues.remove(&self.holder);
            }
        }
    }
}
