//! Creates that were answered 503 although they may have been carried out. If a client repeats such a create within a minute, it
//! gets the identity that it created, not 409 for its own handle. Contract, section 2.
//!
//! Each process remembers its own answers only, for a minute. With an `Idempotency-Key` a create can also be sent again
//! later and to another process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use identity_log::Fate;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// How long a create may be sent again.
const RETENTION: Duration = Duration::from_mins(1);

/// How many creates are remembered. In an outage there may be as many in a minute as requests are answered at the same
/// time.
const MAX_REMEMBERED: usize = 10_000;

/// How many creates with the same key and body are remembered. A client that pauses between attempts sends fewer in a minute.
const MAX_ATTEMPTS: usize = 16;

/// The creates of one process that may have been carried out. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnconfirmedCreates(Arc<Mutex<HashMap<CreateRequest, UnknownCreates>>>);

/// The key that sent the create, and the digest of the body.
type CreateRequest = (Uuid, [u8; 32]);

/// The ids of the identities, and since when their outcome is unknown.
#[derive(Debug)]
struct UnknownCreates {
    /// At most one of them was carried out, since all have the same handle.
    ids: Vec<Uuid>,
    since: Instant,
}

impl UnknownCreates {
    fn is_recent(&self) -> bool {
        self.since.elapsed() < RETENTION
    }
}

impl UnconfirmedCreates {
    /// Begins a create of `id` with this key and this body.
    pub(crate) fn begin<'a>(&self, key_id: Uuid, body: &'a [u8], id: Uuid, fate: &Fate) -> Attempt<'a> {
        Attempt { creates: self.clone(), key_id, body, id, fate: fate.clone(), is_open: true }
    }

    /// The ids of identities of earlier creates with this key and this body whose outcome is unknown.
    pub(crate) fn find(&self, key_id: Uuid, body: &[u8]) -> Vec<Uuid> {
        let known = self.known();
        let creates = known.get(&(key_id, Sha256::digest(body).into()));
        creates.filter(|creates| creates.is_recent()).map(|creates| creates.ids.clone()).unwrap_or_default()
    }

    fn remember(&self, request: CreateRequest, id: Uuid) {
        let mut known = self.known();
        if known.len() >= MAX_REMEMBERED {
            known.retain(|_, creates| creates.is_recent());
        }
        if known.len() >= MAX_REMEMBERED && !known.contains_key(&request) {
            return;
        }
        let creates =
            known.entry(request).or_insert_with(|| UnknownCreates { ids: vec![], since: Instant::now() });
        if !creates.is_recent() {
            creates.ids.clear();
        }
        creates.since = Instant::now();
        if creates.ids.len() < MAX_ATTEMPTS {
            creates.ids.push(id);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<CreateRequest, UnknownCreates>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A create whose outcome is not known yet. If it is dropped in this state after it was sent to Postgres, it is
/// remembered. That happens also if a time limit ends its request.
pub(crate) struct Attempt<'a> {
    creates: UnconfirmedCreates,
    key_id: Uuid,
    body: &'a [u8],
    id: Uuid,
    fate: Fate,
    is_open: bool,
}

impl Attempt<'_> {
    /// Notes that the outcome is known.
    pub(crate) fn end(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_open && !self.fate.abandon() {
            self.creates.remember((self.key_id, Sha256::digest(self.body).into()), self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use identity_log::Fate;
    use uuid::Uuid;

    use super::{MAX_REMEMBERED, UnconfirmedCreates};

    #[test]
    fn only_what_was_sent_and_not_answered_is_remembered() {
        let (creates, key, id) = (UnconfirmedCreates::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        drop(creates.begin(key, b"waiting", id, &Fate::default()));
        assert!(creates.find(key, b"waiting").is_empty(), "it was never sent, and is not any more");
        let sent = Fate::default();
        assert!(sent.send());
        creates.begin(key, b"answered", id, &sent).end();
        assert!(creates.find(key, b"answered").is_empty());
        drop(creates.begin(key, b"sent", id, &sent));
        assert_eq!(creates.find(key, b"sent"), [id]);
        assert!(creates.find(Uuid::from_u128(3), b"sent").is_empty(), "others have sent nothing");
        let again = Uuid::from_u128(4);
        drop(creates.begin(key, b"sent", again, &sent));
        assert_eq!(creates.find(key, b"sent"), [id, again], "either may have been carried out");
    }

    #[test]
    fn no_more_is_remembered_than_there_may_be() {
        let (creates, sent) = (UnconfirmedCreates::default(), Fate::default());
        assert!(sent.send());
        for number in 0..=MAX_REMEMBERED {
            drop(creates.begin(Uuid::nil(), &number.to_be_bytes(), Uuid::nil(), &sent));
        }
        assert_eq!(creates.known().len(), MAX_REMEMBERED);
    }
}
