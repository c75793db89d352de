//! Notes when each key was last used, and stores that once a minute with one statement. No request waits for it, and no
//! request fails because of it.

use std::collections::HashMap;
use std::error::Error;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity_projections::key_uses;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// How often uses are stored.
const STORE_INTERVAL: Duration = Duration::from_mins(1);

/// How long storing may take. What could not be stored is tried again a minute later.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many keys are noted at most until they are stored. The use of a further key is not noted.
const MAX_REMEMBERED_KEYS: usize = 65_536;

/// The keys that were used since uses were last stored, each with the moment of its last use. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct KeyUses(Arc<Mutex<HashMap<Uuid, OffsetDateTime>>>);

impl KeyUses {
    /// Remembers that a key was used.
    pub(crate) fn note(&self, key: Uuid, at: OffsetDateTime) {
        note(&mut self.noted(), key, at);
    }

    /// Stores uses once a minute until `stop` completes, and then once more.
    pub async fn run(self, pool: PgPool, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = tokio::time::sleep(STORE_INTERVAL) => self.store(&pool).await,
                () = &mut stop => break,
            }
        }
        self.store(&pool).await;
    }

    async fn store(&self, pool: &PgPool) {
        let noted = std::mem::take(&mut *self.noted());
        if noted.is_empty() {
            return;
        }
        let uses = noted.iter().map(|(key, at)| (*key, *at)).collect();
        let why = match tokio::time::timeout(STORE_TIMEOUT, key_uses::store(pool, uses)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Box::from(error),
            Err(elapsed) => Box::<dyn Error + Send + Sync>::from(elapsed),
        };
        tracing::warn!(error = &*why as &dyn Error, "cannot store when keys were last used, trying again");
        self.note_again(noted);
    }

    /// Remembers uses that could not be stored, unless the same keys were used again since.
    fn note_again(&self, uses: HashMap<Uuid, OffsetDateTime>) {
        let mut noted = self.noted();
        for (key, at) in uses {
            note(&mut noted, key, at);
        }
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<Uuid, OffsetDateTime>> {
        // A panic cannot leave an entry half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(noted: &mut HashMap<Uuid, OffsetDateTime>, key: Uuid, at: OffsetDateTime) {
    if let Some(last) = noted.get_mut(&key) {
        *last = at.max(*last);
    } else if noted.len() < MAX_REMEMBERED_KEYS {
        noted.insert(key, at);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use uuid::Uuid;

    use super::{KeyUses, MAX_REMEMBERED_KEYS};

    #[test]
    fn the_latest_use_of_a_key_is_remembered_whatever_failed_before() {
        let uses = KeyUses::default();
        let [first, later] = [datetime!(2026-01-01 00:00 UTC), datetime!(2026-01-01 00:01 UTC)];
        uses.note(Uuid::nil(), first);
        let failed = std::mem::take(&mut *uses.noted());
        uses.note(Uuid::nil(), later);
        uses.note_again(failed);
        assert_eq!(uses.noted().get(&Uuid::nil()), Some(&later));
    }

    #[test]
    fn no_more_keys_are_remembered_than_memory_is_meant_for() {
        let uses = KeyUses::default();
        let at = datetime!(2026-01-01 00:00 UTC);
        for key in 0..=MAX_REMEMBERED_KEYS as u128 {
            uses.note(Uuid::from_u128(key), at);
        }
        assert_eq!(uses.noted().len(), MAX_REMEMBERED_KEYS);
    }
}
