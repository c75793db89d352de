//! Each key reads one piece of its long answers at a time, however many of them are being sent. Otherwise the streams of
//! one key could all read history at the same time, and leave no core to the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

/// One semaphore for each key with a long answer that is being sent.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Uuid, Weak<Semaphore>>>);

/// The semaphore of one key. It gives turns in the order in which they are asked for.
#[derive(Debug, Clone)]
pub(crate) struct TurnsOfKey(Arc<Semaphore>);

impl Turns {
    /// The turns of a key. Forgets keys without a long answer.
    pub(super) fn of(&self, key: Uuid) -> TurnsOfKey {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = turns.get(&key).and_then(Weak::upgrade) {
            return TurnsOfKey(known);
        }
        turns.retain(|_, turns| turns.strong_count() > 0);
        let new = Arc::new(Semaphore::new(1));
        turns.insert(key, Arc::downgrade(&new));
        TurnsOfKey(new)
    }
}

impl TurnsOfKey {
    /// Waits for the next turn, which ends when the permit is dropped. It is never `None`, since nothing closes the
    /// semaphore.
    pub(crate) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::Turns;

    #[tokio::test]
    async fn a_key_has_one_turn_at_a_time_and_another_key_has_its_own() {
        let turns = Turns::default();
        let (one, same, other) =
            (turns.of(Uuid::from_u128(1)), turns.of(Uuid::from_u128(1)), turns.of(Uuid::from_u128(2)));
        let turn = one.take().await;
        assert!(same.take().now_or_never().is_none());
        assert!(other.take().now_or_never().is_some());
        drop(turn);
        assert!(same.take().now_or_never().is_some());
        drop((one, same, other));
        drop(turns.of(Uuid::from_u128(3)));
        assert_eq!(turns.0.lock().unwrap().len(), 1, "who has no answer under way takes no memory");
    }
}
