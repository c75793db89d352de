//! A cache of API keys and identities, so that most requests need no query.
//!
//! Every event invalidates the cache entries of its aggregate. Events of this process do so before any caller is told of
//! the commit. If other processes may commit, the log is asked for new events before the cache answers; all requests that
//! arrive while it is asked share the next question. While the log cannot be read, the cache answers nothing.
//!
//! # Invariants
//! - What a batch of this process changes is removed when the batch is sent, and nothing is stored of it until the outcome is
//!   known: others can see a commit before this process knows of it.
//! - An entry is stored only if nothing invalidated it since its query began. A `Ticket` is the number of invalidations
//!   so far, taken before the query.
//! - An entry depends on the events of its own aggregate only, with two exceptions, both on the deletion of another
//!   identity: the keys of that identity, and the access rows that name it as a viewer.

mod deletions;
mod invalidations;
mod observer;
mod packed;
mod ticket;
pub mod watch;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use identity_domain::Kind;
use identity_log::read::Change;
use identity_projections::api_keys::Row as KeyRow;
use quick_cache::sync::Cache as Map;
use quick_cache::{Equivalent, Weighter};
use tokio::sync::{Notify, watch as channel};
use uuid::Uuid;

use deletions::Deletions;
use invalidations::{Invalidation, Invalidations, Sent};
use packed::{Packed, Packer};
pub(crate) use ticket::Ticket;

use crate::found::Found;

/// The maximum number of cached keys.
const MAX_KEYS: usize = 10_000;

/// The maximum size of all cached identities, in bytes. 100,000 identities fit.
const MAX_IDENTITY_BYTES: u64 = 56 * 1024 * 1024;

/// The size of a cached identity without its texts, in bytes: its entries in two maps.
const ENTRY_OVERHEAD: usize = 300;

/// How many invalidations are remembered: two for an event of this process, one for an event of another. The result of a query
/// that began before the oldest of them is not cached.
const MAX_RECENT_INVALIDATIONS: usize = 4096;

/// The cache. Cheap to clone; clones share their entries.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Map<Uuid, Arc<KeyRow>>,
    /// The identity that was last found under a handle. It may be out of date, so the handle of the cached identity is
    /// compared.
    names: Map<Arc<Name>, Uuid>,
    identities: Map<View, CachedIdentity, Weight>,
    packer: Packer,
    deletions: Deletions,
    invalidations: Mutex<Invalidations>,
    /// The number of the last invalidation.
    last_invalidation: AtomicU64,
    /// Until when the cache may be used, in microseconds since `start`; 0 means that it may not.
    trusted_until: AtomicU64,
    /// Whether no other process commits, as long as the cache is trusted.
    is_sole: AtomicBool,
    /// Wakes the task that looks at the log.
    questions: Notify,
    /// The last look at the log.
    looks: channel::Sender<Look>,
    /// The position up to which events have invalidated entries; 0 means none yet.
    seen: AtomicI64,
    /// The last position of the last batch of this process that was sent.
    sent: AtomicI64,
    start: Instant,
}

/// A look at the log.
#[derive(Debug, Clone, Copy)]
struct Look {
    began: Instant,
    /// Whether the cache has every event that was committed before it.
    succeeded: bool,
}

/// A handle within its organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    organization_id: String,
    handle: String,
}

/// A borrowed [`Name`]. It has the same hash, since its fields are in the same order.
#[derive(Clone, Copy, Hash)]
pub(crate) struct NameRef<'a> {
    pub(crate) organization_id: &'a str,
    pub(crate) handle: &'a str,
}

impl Equivalent<Arc<Name>> for NameRef<'_> {
    fn equivalent(&self, name: &Arc<Name>) -> bool {
        self.organization_id == name.organization_id && self.handle == name.handle
    }
}

/// The key of a cached identity: as an admin sees it, or as it sees itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct View {
    id: Uuid,
    by_itself: bool,
}

/// A cached identity.
#[derive(Debug, Clone)]
struct CachedIdentity {
    name: Arc<Name>,
    packed: Arc<Packed>,
    /// If the body names viewers: the ticket of its query. The entry is stale after a later deletion in the organization.
    viewers_as_of: Option<Ticket>,
}

/// An identity that was found in the cache.
#[derive(Debug)]
pub(crate) struct Known {
    cache: Cache,
    packed: Arc<Packed>,
}

impl Known {
    /// The size of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// The identity. `None` if the bytes are damaged; then it is to be read from the database.
    pub(crate) fn unpack(&self) -> Option<Found> {
        self.cache.0.packer.unpack(&self.packed)
    }
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<View, CachedIdentity> for Weight {
    fn weight(&self, _: &View, CachedIdentity { packed, .. }: &CachedIdentity) -> u64 {
        u64::try_from(packed.len() + ENTRY_OVERHEAD).unwrap_or(u64::MAX)
    }
}

impl Cache {
    /// An empty cache. It answers nothing until its [`Watch`](watch::Watch) runs.
    pub fn new() -> Self {
        let start = Instant::now();
        let average = ENTRY_OVERHEAD + 250;
        let identities = usize::try_from(MAX_IDENTITY_BYTES).unwrap_or(usize::MAX) / average;
        Self(Arc::new(Inner {
            keys: Map::new(MAX_KEYS),
            names: Map::new(identities),
            identities: Map::with_weighter(identities, MAX_IDENTITY_BYTES, Weight),
            packer: Packer::default(),
            deletions: Deletions::default(),
            invalidations: Mutex::default(),
            last_invalidation: AtomicU64::new(0),
            trusted_until: AtomicU64::new(0),
            is_sole: AtomicBool::new(false),
            questions: Notify::new(),
            looks: channel::Sender::new(Look { began: start, succeeded: false }),
            seen: AtomicI64::new(0),
            sent: AtomicI64::new(0),
            start,
        }))
    }

    /// A ticket for a query that begins now and whose result is to be cached.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.0.last_invalidation.load(Ordering::Acquire))
    }

    /// The key with this id as of `since` or later, if it is cached. Only valid keys are cached.
    pub(crate) async fn key(&self, id: Uuid, since: Instant) -> Option<Arc<KeyRow>> {
        // Nothing is asked for a key that is not there.
        self.0.keys.get(&id)?;
        if self.is_current(since).await { self.0.keys.get(&id) } else { None }
    }

    /// Stores a valid key.
    pub(crate) fn keep_key(&self, ticket: Ticket, key: &Arc<KeyRow>) {
        let affects = |one: &Invalidation| one.id == key.id || key.identity_id == Some(one.id);
        let is_sent = |sent: &Sent| {
            sent.ids.contains(&key.id) || key.identity_id.is_some_and(|identity| sent.ids.contains(&identity))
        };
        self.keep(ticket, affects, is_sent, || self.0.keys.insert(key.id, Arc::clone(key)));
    }

    /// The identity with this name as of `since` or later, as an admin sees it or, if `viewer` is this very identity, as it
    /// sees itself.
    pub(crate) async fn identity(
        &self,
        name: NameRef<'_>,
        viewer: Option<Uuid>,
        since: Instant,
    ) -> Option<Known> {
        self.0.names.get(&name)?;
        if !self.is_current(since).await {
            return None;
        }
        let id = self.0.names.get(&name)?;
        if viewer.is_some_and(|viewer| viewer != id) {
            return None;
        }
        let cached = self.0.identities.get(&View { id, by_itself: viewer.is_some() })?;
        let all_viewers_live = |as_of| !self.0.deletions.any_since(name.organization_id, as_of);
        if !name.equivalent(&cached.name) || !cached.viewers_as_of.is_none_or(all_viewers_live) {
            return None;
        }
        Some(Known { cache: self.clone(), packed: cached.packed })
    }

    /// Stores an identity as an admin sees it, or as it sees itself. An identity as another agent sees it is not stored,
    /// since events of other aggregates change that. The result of a write is stored like the result of a query: the
    /// invalidation by that write is of the same version, and affects older versions only.
    pub(crate) fn keep_identity(
        &self,
        ticket: Ticket,
        NameRef { organization_id, handle }: NameRef<'_>,
        viewer: Option<Uuid>,
        found: &Found,
    ) {
        if viewer.is_some_and(|viewer| viewer != found.id) {
            return;
        }
        let name = Arc::new(Name { organization_id: organization_id.to_owned(), handle: handle.to_owned() });
        let cached = CachedIdentity {
            name: Arc::clone(&name),
            packed: Arc::new(self.0.packer.pack(found)),
            viewers_as_of: found.names_viewers().then_some(ticket),
        };
        let affects = |one: &Invalidation| one.id == found.id && one.version > found.version;
        let is_sent = |sent: &Sent| {
            let names_viewers = found.names_viewers();
            sent.ids.contains(&found.id) || (names_viewers && sent.deletes_in.contains(organization_id))
        };
        self.keep(ticket, affects, is_sent, || {
            self.0.names.insert(name, found.id);
            self.0.identities.insert(View { id: found.id, by_itself: viewer.is_some() }, cached);
        });
    }

    /// Inserts an entry unless it was invalidated since the ticket, or a batch that was sent may change it. The mutex is locked
    /// meanwhile, so no invalidation comes between the check and the insertion.
    fn keep(
        &self,
        ticket: Ticket,
        affects: impl Fn(&Invalidation) -> bool,
        is_sent: impl Fn(&Sent) -> bool,
        insert: impl FnOnce(),
    ) {
        let invalidations = self.invalidations();
        if !is_sent(&invalidations.sent) && !invalidations.any_since(ticket, affects) {
            insert();
        }
    }

    /// Whether the cache has every event that was committed before `since`. If other processes may commit, that is known
    /// after a look at the log.
    async fn is_current(&self, since: Instant) -> bool {
        if self.is_sole() {
            return true;
        }
        if !self.is_trusted() {
            return false;
        }
        let mut looks = self.0.looks.subscribe();
        if looks.borrow_and_update().began < since {
            self.0.questions.notify_one();
        }
        let looked = looks.wait_for(|look| look.began >= since || !look.succeeded).await;
        looked.is_ok_and(|look| look.succeeded) && self.is_trusted()
    }

    /// Whether it answers without a question, since no other process commits.
    pub fn is_sole(&self) -> bool {
        self.0.is_sole.load(Ordering::Acquire) && self.is_trusted()
    }

    /// Notes whether no other process commits, as a look at the log says.
    fn set_sole(&self, is_sole: bool) {
        let invalidations = self.invalidations();
        self.0.is_sole.store(is_sole && !invalidations.is_outcome_unknown, Ordering::Release);
    }

    /// Whether the cache may be used now.
    fn is_trusted(&self) -> bool {
        let now = u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        now < self.0.trusted_until.load(Ordering::Acquire)
    }

    /// Allows the use of the cache until this moment.
    fn trust(&self, until: Option<Instant>) {
        let until = until.map_or(0, |until| until.duration_since(self.0.start).as_micros());
        self.0.trusted_until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn invalidations(&self) -> MutexGuard<'_, Invalidations> {
        // A panic cannot leave an invalidation half done.
        self.0.invalidations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the entries that these changes invalidate.
    fn forget(&self, invalidations: &mut Invalidations, changes: impl Iterator<Item = Change>) {
        let mut ended = HashSet::new();
        for change in changes {
            let number = self.0.last_invalidation.fetch_add(1, Ordering::AcqRel) + 1;
            invalidations.recent.push_back(Invalidation { number, id: change.id, version: change.version });
            match change.kind {
                Kind::ApiKey => {
                    self.0.keys.remove(&change.id);
                }
                Kind::Identity => {
                    for by_itself in [false, true] {
                        self.0.identities.remove(&View { id: change.id, by_itself });
                    }
                    if let Some(organization_id) = change.ended_in {
                        self.0.deletions.note(&organization_id, Ticket(number));
                        ended.insert(change.id);
                    }
                }
                Kind::Organization | Kind::Vault | Kind::VaultSecret | Kind::WebhookSubscription => {}
            }
        }
        while invalidations.recent.len() > MAX_RECENT_INVALIDATIONS {
            let oldest = invalidations.recent.pop_front();
            invalidations.forgotten = oldest.map_or(invalidations.forgotten, |one| one.number);
        }
        if !ended.is_empty() {
            self.0.keys.retain(|_, key| key.identity_id.is_none_or(|id| !ended.contains(&id)));
        }
    }

    /// Removes all entries. The results of queries that run at present are not cached either.
    fn forget_all(&self) {
        let mut invalidations = self.invalidations();
        invalidations.forgotten = self.0.last_invalidation.fetch_add(1, Ordering::AcqRel) + 1;
        invalidations.recent.clear();
        self.0.keys.clear();
        self.0.names.clear();
        self.0.identities.clear();
    }

    /// Applies the events after the position `after` and up to `upto`. If the events up to `after` have not been applied
    /// yet, the [`Watch`](watch::Watch) applies them later, and these once more.
    fn learn(&self, after: i64, upto: i64, changes: impl Iterator<Item = Change>) {
        let mut invalidations = self.invalidations();
        self.forget(&mut invalidations, changes);
        if self.0.seen.load(Ordering::Acquire) == after {
            self.0.seen.store(upto, Ordering::Release);
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}
