//! Limits connections: how many there are at the same time, how many from one address, and which one is closed if there
//! is no room.
//!
//! A connection is idle while none of its requests is being answered, or while its client reads nothing of the answers.
//! When there is no room, the connection that has been idle for longest is closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use identity_http::client::{TrustedProxies, network};
use identity_http::limits::{Share, Shares};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long a connection must be idle before it is cut off. Before that the end of its last answer may still be on its
/// way.
const MIN_IDLE_TIME: Duration = Duration::from_secs(1);

/// How often room is looked for while no connection is idle.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The places of a listener. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    most: usize,
    addresses: Shares<IpAddr>,
    proxies: TrustedProxies,
    open: Mutex<HashMap<u64, Arc<Occupant>>>,
    next_id: AtomicU64,
}

/// The state of a connection that the other connections see.
#[derive(Debug)]
pub(super) struct Occupant {
    address: IpAddr,
    activity: Mutex<Activity>,
    share: Mutex<Option<Share<IpAddr>>>,
    told: watch::Sender<Instruction>,
}

/// The answers of a connection that are being sent.
#[derive(Debug)]
struct Activity {
    /// Answers that are not sent yet.
    answers: usize,
    /// Since when there is no such answer.
    idle_since: Instant,
    /// Answers of which the client reads nothing, and since when.
    stalled: HashMap<u64, Instant>,
    /// When the client has last read something of any answer.
    last_read: Instant,
    next_answer: u64,
}

/// An address has as many connections as it may.
struct UsedUp;

/// What a connection was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    Nothing,
    /// To end as soon as it is idle: its place is wanted.
    MakeRoom,
    /// To end at once: its client reads nothing.
    End,
}

/// A place that is taken, for as long as this lives.
#[derive(Debug)]
pub(super) struct TakenPlace {
    id: u64,
    places: Places,
    pub(super) occupant: Arc<Occupant>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(most: usize, most_of_address: usize, proxies: TrustedProxies) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(most)),
            most,
            addresses: Shares::new(most_of_address),
            proxies,
            open: Mutex::default(),
            next_id: AtomicU64::new(0),
        }))
    }

    /// A place for a connection from this address, as soon as there is one; nothing if the address has as many as it may
    /// and none of them is idle.
    pub(super) async fn take(&self, peer: IpAddr) -> Option<TakenPlace> {
        let share = self.share(peer).ok()?;
        let permit = self.permit().await?;
        Some(self.occupy(peer, share, permit))
    }

    /// The same without waiting.
    pub(super) fn try_take(&self, peer: IpAddr) -> Option<TakenPlace> {
        let share = self.share(peer).ok()?;
        let permit = Arc::clone(&self.0.free).try_acquire_owned().ok()?;
        Some(self.occupy(peer, share, permit))
    }

    fn occupy(&self, peer: IpAddr, share: Option<Share<IpAddr>>, permit: OwnedSemaphorePermit) -> TakenPlace {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let occupant = Arc::new(Occupant::new(network(peer), share));
        self.open().insert(id, Arc::clone(&occupant));
        TakenPlace { id, places: self.clone(), occupant, _permit: permit }
    }

    /// A share of the address; an error if it has no more. Trusted proxies need none: they forward requests of many
    /// clients.
    fn share(&self, peer: IpAddr) -> Result<Option<Share<IpAddr>>, UsedUp> {
        if self.0.proxies.trusts(peer.to_canonical()) {
            return Ok(None);
        }
        let address = network(peer);
        let share = self.0.addresses.take(&address).or_else(|| {
            self.make_room(|occupant| occupant.address == address && occupant.has_share());
            self.0.addresses.take(&address)
        });
        share.map(Some).ok_or(UsedUp)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let free = Arc::clone(&self.0.free);
            if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
                return Some(permit);
            }
            self.make_room(|_| true);
            if let Ok(permit) = tokio::time::timeout(RETRY_INTERVAL, free.acquire_owned()).await {
                return permit.ok();
            }
        }
    }

    /// Closes the connection that has been idle for longest, of those that `may` be closed.
    fn make_room(&self, may: impl Fn(&Occupant) -> bool) {
        let open = self.open();
        let idle = open.values().filter(|occupant| !occupant.is_told() && may(occupant));
        let longest = idle.filter_map(|occupant| Some((occupant.idle_since()?, occupant)));
        if let Some((_, occupant)) = longest.min_by_key(|(since, _)| *since) {
            occupant.make_room();
        }
    }

    /// Ends connections whose clients have read nothing for `timeout`. It runs until it is dropped.
    pub(super) async fn end_stalled(self, timeout: Duration) -> std::convert::Infallible {
        loop {
            tokio::time::sleep((timeout / 8).min(MIN_IDLE_TIME)).await;
            for occupant in self.open().values().filter(|occupant| occupant.has_stalled(timeout)) {
                occupant.told.send_replace(Instruction::End);
            }
        }
    }

    /// Returns when every connection has ended.
    pub(super) async fn emptied(&self) {
        // The semaphore is never closed, so this cannot fail.
        drop(self.0.free.acquire_many(u32::try_from(self.0.most).unwrap_or(u32::MAX)).await);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Occupant>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        self.places.open().remove(&self.id);
    }
}

impl Occupant {
    fn new(address: IpAddr, share: Option<Share<IpAddr>>) -> Self {
        let now = Instant::now();
        let activity =
            Activity { answers: 0, idle_since: now, stalled: HashMap::new(), last_read: now, next_answer: 0 };
        Self {
            address,
            activity: Mutex::new(activity),
            share: Mutex::new(share),
            told: watch::Sender::new(Instruction::Nothing),
        }
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_share(&self) -> bool {
        self.share.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn is_told(&self) -> bool {
        *self.told.borrow() != Instruction::Nothing
    }

    /// Tells the connection to end. Its share can be taken at once.
    fn make_room(&self) {
        self.told.send_replace(Instruction::MakeRoom);
        drop(self.share.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Since when it is idle, if it is.
    fn idle_since(&self) -> Option<Instant> {
        let activity = self.activity();
        match activity.answers {
            0 => Some(activity.idle_since),
            answers if answers == activity.stalled.len() => activity.stalled.values().max().copied(),
            _ => None,
        }
    }

    /// Whether an answer waits for the client for so long, which has read nothing of others meanwhile.
    fn has_stalled(&self, timeout: Duration) -> bool {
        let activity = self.activity();
        activity.last_read.elapsed() >= timeout
            && activity.stalled.values().any(|since| since.elapsed() >= timeout)
    }

    /// A request has come.
    pub(super) fn begin_answer(self: &Arc<Self>) -> Answer {
        let mut activity = self.activity();
        activity.answers += 1;
        activity.next_answer += 1;
        Answer { id: activity.next_answer, occupant: Arc::clone(self), pieces: 0, is_waiting: false }
    }

    /// Returns when somebody tells the connection to end.
    pub(super) async fn told_to_end(&self) {
        // The sender is a field of `self`, so this cannot fail.
        let _: Result<_, _> = self.told.subscribe().wait_for(|told| *told != Instruction::Nothing).await;
    }

    /// Returns when the connection was told to end, and nothing is lost if it ends.
    pub(super) async fn may_be_cut_off(&self) {
        self.told_to_end().await;
        while *self.told.borrow() != Instruction::End {
            let idle = self.idle_since().map(|since| since.elapsed());
            match idle {
                Some(idle) if idle >= MIN_IDLE_TIME => return,
                _ => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
    }
}

/// An answer that is not sent yet, for as long as this lives.
#[derive(Debug)]
pub(super) struct Answer {
    id: u64,
    occupant: Arc<Occupant>,
    /// How many pieces are not written yet.
    pieces: usize,
    /// Whether a piece was given out, and no further one was asked for.
    is_waiting: bool,
}

impl Answer {
    /// Notes that a piece was given out, which the client has to read next.
    pub(super) fn waits_for_client(&mut self) {
        self.pieces += 1;
        self.is_waiting = true;
        self.occupant.activity().stalled.entry(self.id).or_insert_with(Instant::now);
    }

    /// Notes that a piece is written.
    pub(super) fn is_written(&mut self) {
        self.pieces = self.pieces.saturating_sub(1);
        self.goes_on();
    }

    /// Notes that there is room for another piece. HTTP/2 also asks while the last one waits.
    pub(super) fn is_asked_for_more(&mut self) {
        if std::mem::take(&mut self.is_waiting) && self.pieces == 0 {
            self.goes_on();
        }
    }

    fn goes_on(&self) {
        let mut activity = self.occupant.activity();
        let now = Instant::now();
        activity.last_read = now;
        if self.pieces == 0 && !self.is_waiting {
            activity.stalled.remove(&self.id);
        } else {
            activity.stalled.insert(self.id, now);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut activity = self.occupant.activity();
        activity.stalled.remove(&self.id);
        activity.answers = activity.answers.saturating_sub(1);
        if activity.answers == 0 {
            activity.idle_since = Instant::now();
        }
    }
}
