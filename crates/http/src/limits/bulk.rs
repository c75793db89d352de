//! Budgets of bytes for large writes. All writes go through one committer, so an organization that writes megabytes makes all
//! others wait.
//!
//! What counts is what a write adds to the log and to the stored answers beyond [`FREE_BYTES`], so ordinary writes cost nothing
//! and never wait. An organization has a budget that refills evenly, and an agent key has one of its own, of a quarter of that.
//! A budget may go into debt:
//!
//! 1. A write that costs something waits until the budget is above zero. Writes are let in in the order in which they came.
//! 2. What the write is known to cost is taken. Where that is not known, as much is taken that nothing else is let in before the
//!    write has ended.
//! 3. After the write its true cost takes the place of what was taken. If it failed, what was taken stays taken.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity_projections::api_keys::{KeyScope, Row as KeyRow};
use tokio::sync::{MutexGuard, Notify};
use tokio::time::Instant;
use uuid::Uuid;

use super::buckets::whole_seconds;

/// So many bytes of each write are free.
pub(crate) const FREE_BYTES: u64 = 4 * 1024;

/// A write of more bytes is a batch of its own.
const MAX_SHARED_BYTES: u64 = 256 * 1024;

/// A full budget is what refills in so many seconds.
const FULL_SECONDS: i64 = 4;

/// Taken for a write of unknown size: what refills in so many seconds.
const UNKNOWN_SECONDS: i64 = 16;

/// The longest wait of a write for its budget.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A write is refused at once if its budget is above zero only after so long. It would wait in vain, even if everything that was
/// taken for a write of unknown size is given back.
const MAX_DEBT: Duration = Duration::from_secs(MAX_WAIT.as_secs() + UNKNOWN_SECONDS.unsigned_abs());

/// If there are so many budgets, those that are full are forgotten: a new one is full, too.
const MAX_FULL_BUDGETS: usize = 1024;

/// What is known of the size of a write before it is carried out, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// The write adds so many bytes.
    Known(u64),
    /// The write adds so many bytes, with its stored answer. The answer is longer if another write, which is carried out before,
    /// makes the identity longer.
    WithAnswer(u64),
    /// It may write a row for each identity, or each secret, of the organization.
    Unknown,
}

/// What was taken for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// So many bytes.
    Bytes(u64),
    /// More than a full budget.
    All,
}

impl Taken {
    fn of(size: u64) -> Self {
        Self::Bytes(size.saturating_sub(FREE_BYTES))
    }

    /// Whether the write is to be a batch of its own.
    pub(crate) fn is_bulk(self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes > MAX_SHARED_BYTES,
            Self::All => true,
        }
    }
}

/// The budgets of all organizations and agent keys.
#[derive(Debug)]
pub(crate) struct BulkBudgets {
    organizations: Budgets<String>,
    agent_keys: Budgets<Uuid>,
}

impl BulkBudgets {
    /// Budgets of organizations that refill by so many bytes in a second. 0 is no limit.
    pub(super) fn new(bytes_per_second: u32) -> Self {
        let rate = i64::from(bytes_per_second);
        Self { organizations: Budgets::new(rate), agent_keys: Budgets::new((rate / 4).max(rate.min(1))) }
    }

    /// Waits until a write is let in. If that takes too long: the seconds after which it may be tried again.
    pub(crate) async fn admit(&self, key: &KeyRow, size: Size) -> Result<Taken, u32> {
        let wanted = match size {
            Size::Known(bytes) | Size::WithAnswer(bytes) => Taken::of(bytes),
            Size::Unknown => Taken::All,
        };
        if matches!(size, Size::Known(_)) && wanted == Taken::Bytes(0) {
            return Ok(wanted);
        }
        let budgets = self.of(key);
        let wait = longest_wait(&budgets);
        let wanted = match size {
            Size::WithAnswer(_) if !wait.is_zero() => Taken::All,
            Size::WithAnswer(_) if wanted == Taken::Bytes(0) => return Ok(wanted),
            _ => wanted,
        };
        if wait > MAX_DEBT {
            return Err(whole_seconds(wait));
        }
        let taken = tokio::time::timeout(MAX_WAIT, take(&budgets, wanted)).await;
        taken.map(|()| wanted).map_err(|_| whole_seconds(longest_wait(&budgets)))
    }

    /// Takes the true size of a write, in bytes, in place of what was taken for it.
    pub(crate) fn settle(&self, key: &KeyRow, taken: Taken, size: u64) {
        let written = Taken::of(size);
        if taken != written {
            for budget in self.of(key) {
                budget.change(budget.bytes(taken) - budget.bytes(written));
            }
        }
    }

    /// The budgets that a write with this key is taken from. That of the key comes first, so its writes do not stand in the queue
    /// of their organization while they wait for it.
    fn of(&self, key: &KeyRow) -> Vec<Arc<Budget>> {
        let of_key = (key.scope == KeyScope::Agent).then(|| self.agent_keys.of(&key.id));
        of_key.flatten().into_iter().chain(self.organizations.of(&key.organization_id)).collect()
    }
}

fn longest_wait(budgets: &[Arc<Budget>]) -> Duration {
    budgets.iter().map(|budget| budget.wait()).max().unwrap_or_default()
}

/// Takes as much of each budget once it is the turn of this write in the queues of all.
async fn take(budgets: &[Arc<Budget>], wanted: Taken) {
    let mut turns = Vec::with_capacity(budgets.len());
    for budget in budgets {
        turns.push(budget.turn().await);
    }
    for budget in budgets {
        budget.change(-budget.bytes(wanted));
    }
}

/// The budgets of holders of one kind.
#[derive(Debug)]
struct Budgets<K> {
    rate: i64,
    of: Mutex<HashMap<K, Arc<Budget>>>,
}

impl<K: Hash + Eq + Clone> Budgets<K> {
    fn new(rate: i64) -> Self {
        Self { rate, of: Mutex::default() }
    }

    /// The budget of a holder. `None` if there is no limit.
    fn of(&self, holder: &K) -> Option<Arc<Budget>> {
        if self.rate == 0 {
            return None;
        }
        let mut budgets = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = budgets.get(holder) {
            return Some(Arc::clone(budget));
        }
        if budgets.len() >= MAX_FULL_BUDGETS {
            budgets.retain(|_, budget| Arc::strong_count(budget) > 1 || !budget.is_full());
        }
        let budget = Arc::new(Budget::full(self.rate));
        budgets.insert(holder.clone(), Arc::clone(&budget));
        Some(budget)
    }
}

/// The budget of one holder.
#[derive(Debug)]
struct Budget {
    /// Bytes in a second.
    rate: i64,
    /// The bytes that there were, and when. Negative if there is a debt.
    level: Mutex<(i64, Instant)>,
    /// Its holder is the next to be let in.
    queue: tokio::sync::Mutex<()>,
    /// Some of what was taken was given back.
    refunded: Notify,
}

impl Budget {
    fn full(rate: i64) -> Self {
        Self {
            rate,
            level: Mutex::new((rate * FULL_SECONDS, Instant::now())),
            queue: tokio::sync::Mutex::default(),
            refunded: Notify::new(),
        }
    }

    fn bytes(&self, taken: Taken) -> i64 {
        match taken {
            Taken::Bytes(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
            Taken::All => self.rate * UNKNOWN_SECONDS,
        }
    }

    fn level(&self) -> i64 {
        let (bytes, at) = *self.level.lock().unwrap_or_else(PoisonError::into_inner);
        self.refilled(bytes, at.elapsed())
    }

    fn refilled(&self, bytes: i64, time: Duration) -> i64 {
        // Thousands of writes a second change a budget, and each of them begins to count time anew.
        let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let more = self.rate.saturating_mul(microseconds) / 1_000_000;
        bytes.saturating_add(more).min(self.rate * FULL_SECONDS)
    }

    fn is_full(&self) -> bool {
        self.level() == self.rate * FULL_SECONDS
    }

    fn change(&self, bytes: i64) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let present = self.refilled(level.0, level.1.elapsed()).saturating_add(bytes);
        *level = (present.min(self.rate * FULL_SECONDS), Instant::now());
        drop(level);
        if bytes > 0 {
            self.refunded.notify_one();
        }
    }

    /// How long it takes until the budget is above zero, if nothing is given back.
    fn wait(&self) -> Duration {
        let missing = u64::try_from(1 - self.level()).unwrap_or_default();
        Duration::from_millis(missing.saturating_mul(1000).div_ceil(self.rate.unsigned_abs()))
    }

    /// Waits for the turn of a write, and until the budget is above zero.
    async fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.queue.lock().await;
        while self.level() <= 0 {
            // If the time is up first, the loop looks again, too.
            let _refunded = tokio::time::timeout(self.wait(), self.refunded.notified()).await;
        }
        turn
    }
}

#[cfg(test)]
mod tests;
