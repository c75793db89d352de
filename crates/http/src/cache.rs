//! Keys and identities as they were read a moment ago, so that not every request asks the database for them again.
//!
//! What changes them is an event, and events drop them: those of this process before anybody is told of the commit,
//! those of other processes as they arrive. While the log cannot be followed nothing is answered from here at all.
//!
//! # Invariants, as absences
//! - Nothing is kept that was read before it was last dropped: whoever keeps something says when the database was
//!   asked, by its `Ticket`.
//! - Nothing is kept that depends on the events of another aggregate, but for two things that end with an identity: its
//!   keys, and the rows that name it as a viewer.

mod deaths;
mod packed;
pub mod watch;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use identity_domain::{Event, Kind, identity};
use identity_log::read::Change;
use identity_log::{Observer, Recorded};
use identity_projections::api_keys::Row as KeyRow;
use identity_projections::identities::IdentityBody;
use quick_cache::sync::Cache as Map;
use quick_cache::{Equivalent, Weighter};
use uuid::Uuid;

use deaths::Deaths;
use packed::{Packed, Packer};

/// The most keys that are kept.
const KEYS: usize = 10_000;

/// The most bytes that identities may take: enough for a hundred thousand.
const BYTES: u64 = 56 * 1024 * 1024;

/// What an identity takes beside its texts: its place in two maps, and the ids in them.
const OVERHEAD: usize = 300;

/// How many drops are remembered one by one. Whoever asked the database before that keeps nothing.
const REMEMBERED: usize = 4096;

/// What is kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Map<Uuid, Arc<KeyRow>>,
    /// Where an identity was last seen under a handle. May be out of date: what it leads to knows its own handle.
    names: Map<Arc<Name>, Uuid>,
    identities: Map<View, Placed, Weight>,
    packer: Packer,
    deaths: Deaths,
    drops: Mutex<Drops>,
    /// The number of the last drop.
    clock: AtomicU64,
    /// Until when what is kept may be used, in microseconds since `start`; 0 for not at all.
    trusted_until: AtomicU64,
    /// The position up to which events have been seen; 0 for none yet.
    seen: AtomicI64,
    start: Instant,
}

/// A handle within its organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    organization_id: String,
    handle: String,
}

/// The same, borrowed. Hashes like a [`Name`], since its fields are in the same order.
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

/// An identity as an admin sees it, or as it sees itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct View {
    id: Uuid,
    by_itself: bool,
}

/// An identity and where it was found.
#[derive(Debug, Clone)]
struct Placed {
    name: Arc<Name>,
    packed: Arc<Packed>,
    /// Since when all its viewers must live, if it names any.
    alive_since: Option<Ticket>,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<View, Placed> for Weight {
    fn weight(&self, _: &View, Placed { packed, .. }: &Placed) -> u64 {
        u64::try_from(packed.len() + OVERHEAD).unwrap_or(u64::MAX)
    }
}

/// When the database was asked, counted in drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Something was changed, up to a version.
#[derive(Debug, Clone, Copy)]
struct Dropped {
    number: u64,
    id: Uuid,
    version: i64,
}

#[derive(Debug, Default)]
struct Drops {
    recent: VecDeque<Dropped>,
    /// Whoever asked before this drop keeps nothing.
    forgotten: u64,
}

impl Drops {
    /// Whether any has made something out of date that was asked for then.
    fn any_since(&self, ticket: Ticket, outdates: impl Fn(&Dropped) -> bool) -> bool {
        ticket.0 < self.forgotten
            || self.recent.iter().rev().take_while(|drop| drop.number > ticket.0).any(outdates)
    }
}

impl Cache {
    /// An empty cache. Until its [`Watch`](watch::Watch) runs, nothing is answered from it.
    pub fn new() -> Self {
        let average = OVERHEAD + 250;
        let identities = usize::try_from(BYTES).unwrap_or(usize::MAX) / average;
        Self(Arc::new(Inner {
            keys: Map::new(KEYS),
            names: Map::new(identities),
            identities: Map::with_weighter(identities, BYTES, Weight),
            packer: Packer::default(),
            deaths: Deaths::default(),
            drops: Mutex::default(),
            clock: AtomicU64::new(0),
            trusted_until: AtomicU64::new(0),
            seen: AtomicI64::new(0),
            start: Instant::now(),
        }))
    }

    /// Taken before the database is asked for what is to be kept.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.0.clock.load(Ordering::Acquire))
    }

    /// The key with this id, if it is known to be good.
    pub(crate) fn key(&self, id: Uuid) -> Option<Arc<KeyRow>> {
        self.is_trusted().then(|| self.0.keys.get(&id)).flatten()
    }

    /// Keeps a good key.
    pub(crate) fn keep_key(&self, ticket: Ticket, key: &Arc<KeyRow>) {
        let outdates = |drop: &Dropped| drop.id == key.id || key.identity_id == Some(drop.id);
        self.keep(ticket, outdates, || self.0.keys.insert(key.id, Arc::clone(key)));
    }

    /// The identity with this name, as an admin sees it or, if `viewer` is this very identity, as it sees itself.
    pub(crate) fn identity(&self, name: NameRef<'_>, viewer: Option<Uuid>) -> Option<Arc<IdentityBody>> {
        if !self.is_trusted() {
            return None;
        }
        let id = self.0.names.get(&name)?;
        if viewer.is_some_and(|viewer| viewer != id) {
            return None;
        }
        let placed = self.0.identities.get(&View { id, by_itself: viewer.is_some() })?;
        let is_alive = |since| !self.0.deaths.any_since(name.organization_id, since);
        if !name.equivalent(&placed.name) || !placed.alive_since.is_none_or(is_alive) {
            return None;
        }
        self.0.packer.unpack(&placed.packed).map(Arc::new)
    }

    /// Keeps an identity as it was found for an admin, or for an agent that is this very identity; who is seen by somebody
    /// else is left alone, since others' events change that. What a write made of it may be kept like what was read: the
    /// drops that it caused outdate only what was before.
    pub(crate) fn keep_identity(
        &self,
        ticket: Ticket,
        NameRef { organization_id, handle }: NameRef<'_>,
        viewer: Option<Uuid>,
        found: &IdentityBody,
    ) {
        if viewer.is_some_and(|viewer| viewer != found.id) {
            return;
        }
        let name = Arc::new(Name { organization_id: organization_id.to_owned(), handle: handle.to_owned() });
        let placed = Placed {
            name: Arc::clone(&name),
            packed: Arc::new(self.0.packer.pack(found)),
            alive_since: found.names_viewers().then_some(ticket),
        };
        let outdates = |drop: &Dropped| drop.id == found.id && drop.version > found.version;
        self.keep(ticket, outdates, || {
            self.0.names.insert(name, found.id);
            self.0.identities.insert(View { id: found.id, by_itself: viewer.is_some() }, placed);
        });
    }

    /// Under the lock that drops take, so that none comes between the question and the keeping.
    fn keep(&self, ticket: Ticket, outdates: impl Fn(&Dropped) -> bool, insert: impl FnOnce()) {
        let drops = self.drops();
        if !drops.any_since(ticket, outdates) {
            insert();
        }
    }

    fn is_trusted(&self) -> bool {
        let now = u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        now < self.0.trusted_until.load(Ordering::Acquire)
    }

    fn trust(&self, until: Option<Instant>) {
        let until = until.map_or(0, |until| until.duration_since(self.0.start).as_micros());
        self.0.trusted_until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn drops(&self) -> MutexGuard<'_, Drops> {
        // A panic while it was held has left nothing half done.
        self.0.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what these changes changed.
    fn forget(&self, drops: &mut Drops, changes: impl Iterator<Item = Change>) {
        let mut ended = HashSet::new();
        for change in changes {
            let number = self.0.clock.fetch_add(1, Ordering::AcqRel) + 1;
            drops.recent.push_back(Dropped { number, id: change.id, version: change.version });
            match change.kind {
                Kind::ApiKey => {
                    self.0.keys.remove(&change.id);
                }
                Kind::Identity => {
                    for by_itself in [false, true] {
                        self.0.identities.remove(&View { id: change.id, by_itself });
                    }
                    if let Some(organization_id) = change.ended_in {
                        self.0.deaths.note(&organization_id, Ticket(number));
                        ended.insert(change.id);
                    }
                }
                Kind::Organization | Kind::Vault | Kind::VaultSecret => {}
            }
        }
        while drops.recent.len() > REMEMBERED {
            drops.forgotten = drops.recent.pop_front().map_or(drops.forgotten, |drop| drop.number);
        }
        if !ended.is_empty() {
            self.0.keys.retain(|_, key| key.identity_id.is_none_or(|id| !ended.contains(&id)));
        }
    }

    /// Drops everything, and what is being read too.
    fn forget_all(&self) {
        let mut drops = self.drops();
        drops.forgotten = self.0.clock.fetch_add(1, Ordering::AcqRel) + 1;
        drops.recent.clear();
        self.0.keys.clear();
        self.0.names.clear();
        self.0.identities.clear();
    }

    /// Takes note of events that follow on `after`. Where others were written in between, they are looked at later,
    /// and these once more.
    fn learn(&self, after: i64, upto: i64, changes: impl Iterator<Item = Change>) {
        let mut drops = self.drops();
        self.forget(&mut drops, changes);
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

impl Observer for Cache {
    fn committed(&self, events: &[Recorded]) {
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            self.learn(first.position - 1, last.position, events.iter().filter_map(change));
        }
    }
}

/// What an event changes, of those that have UUIDs.
fn change(recorded: &Recorded) -> Option<Change> {
    let ended = matches!(recorded.event, Event::Identity(identity::Event::Deleted { .. }));
    Some(Change {
        kind: recorded.event.kind(),
        id: recorded.aggregate_id.parse().ok()?,
        version: recorded.sequence,
        ended_in: ended.then(|| recorded.organization_id.clone()),
    })
}
