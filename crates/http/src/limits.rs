//! How often somebody may ask: token buckets for keys and organizations, off unless they are set, and a small budget of
//! refused keys for each address.
//!
//! Answers under a limit say where they stand with the fields `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers: the quota and its window, what remains, and in how many seconds all of it will
//! be there again.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use identity_projections::api_keys::Row as KeyRow;
use uuid::Uuid;

use crate::error::ApiError;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// The window of every quota.
const WINDOW: Duration = Duration::from_mins(1);

/// Addresses and keys that are remembered before those that do not matter any more are looked for.
const MAX_REMEMBERED: usize = 65_536;

/// How many requests a minute are answered. Each is the size of a bucket as well, so all of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Of one key.
    pub key: Option<NonZeroU32>,
    /// Of all keys of an organization together.
    pub organization: Option<NonZeroU32>,
    /// With keys that open nothing, from one address. An API key may try to open the vault as often.
    pub refused_keys: Option<NonZeroU32>,
}

type Buckets<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// The buckets of a process.
pub(crate) struct Limits {
    keys: Option<Limit<Uuid>>,
    organizations: Option<Limit<String>>,
    refused_keys: Option<RefusedKeys>,
    /// Attempts to open a vault, by API key.
    vault_attempts: Option<Limit<Uuid>>,
}

/// One quota, and a bucket for each of those it binds.
struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    quota: NonZeroU32,
    buckets: Buckets<K>,
}

/// Where a request stands under the limits that bind it.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    policy: String,
    standing: String,
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Limits").finish_non_exhaustive()
    }
}

impl Limits {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            keys: settings.key.and_then(|quota| Limit::new("key", quota)),
            organizations: settings.organization.and_then(|quota| Limit::new("organization", quota)),
            refused_keys: settings.refused_keys.and_then(RefusedKeys::new),
            vault_attempts: settings.refused_keys.and_then(|quota| Limit::new("vault", quota)),
        }
    }

    /// Takes a token out of each bucket that binds this key. Gives where it stands, and in how many seconds to come
    /// again if one of them was empty; nothing where no limit is set.
    pub(crate) fn take(&self, key: &KeyRow) -> Option<(Standing, Option<u32>)> {
        if self.keys.is_none() && self.organizations.is_none() {
            return None;
        }
        let mut standing = Standing::default();
        let mut wait = None;
        if let Some(keys) = &self.keys {
            wait = keys.take(&key.id, &mut standing);
        }
        // What a key may not ask is not counted against its organization.
        if let (Some(organizations), None) = (&self.organizations, wait) {
            wait = organizations.take(&key.organization_id, &mut standing);
        }
        Some((standing, wait))
    }

    /// Refuses an address whose budget of refused keys is spent, before anything is looked up. A key that was good
    /// before is let through: others may share its address.
    pub(crate) fn may_try(&self, address: Option<IpAddr>, digest: Option<&[u8; 32]>) -> Result<(), ApiError> {
        match (&self.refused_keys, address) {
            (Some(refused), Some(address)) => refused.may_try(address, digest),
            _ => Ok(()),
        }
    }

    /// Counts a refused key against its address, and gives the error that says so.
    pub(crate) fn refused(&self, address: Option<IpAddr>) -> ApiError {
        match (&self.refused_keys, address) {
            (Some(refused), Some(address)) => refused.count(address),
            _ => ApiError::unauthorized(),
        }
    }

    /// Counts an attempt to open the vault with this API key, whether or not it succeeds.
    pub(crate) fn take_vault_attempt(&self, key: Uuid) -> Result<(), ApiError> {
        let limit = self.vault_attempts.as_ref();
        let wait = limit.and_then(|limit| limit.take(&key, &mut Standing::default()));
        wait.map_or(Ok(()), |seconds| Err(ApiError::too_many_vault_attempts(seconds)))
    }

    /// Remembers a key that was good.
    pub(crate) fn good(&self, digest: &[u8; 32]) {
        if let Some(refused) = &self.refused_keys {
            refused.remember(digest);
        }
    }
}

fn quota(tokens: NonZeroU32) -> Option<Quota> {
    Some(Quota::with_period(WINDOW / tokens.get())?.allow_burst(tokens))
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, tokens: NonZeroU32) -> Option<Self> {
        let buckets = RateLimiter::dashmap(quota(tokens)?).with_middleware();
        Some(Self { name, quota: tokens, buckets })
    }

    /// Takes a token, says where that leaves the bucket, and in how many seconds to come again if it was empty.
    fn take(&self, key: &K, standing: &mut Standing) -> Option<u32> {
        let (remaining, wait) = match self.buckets.check_key(key) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(refusal) => (0, Some(refusal.wait_time_from(DefaultClock::default().now()))),
        };
        standing.add(self.name, self.quota, remaining);
        wait.map(whole_seconds)
    }
}

impl Standing {
    fn add(&mut self, name: &str, quota: NonZeroU32, remaining: u32) {
        let window = WINDOW.as_secs();
        let gone = u64::from(quota.get().saturating_sub(remaining));
        let full_in = (gone * window).div_ceil(u64::from(quota.get()));
        let comma = if self.policy.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _: Result<(), _> = write!(self.policy, "{comma}\"{name}\";q={quota};w={window}");
        let _: Result<(), _> = write!(self.standing, "{comma}\"{name}\";r={remaining};t={full_in}");
    }

    /// The fields of an answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in [(POLICY, &self.policy), (STANDING, &self.standing)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// The least number of seconds that is not too short.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// Whether `others`, the requests that are being answered already, are as many as there may be. Probes are answered all the
/// same.
pub(crate) fn is_excessive(others: usize, most: usize, route: &str) -> bool {
    others >= most && route.starts_with("/api")
}

/// Refused keys by address.
struct RefusedKeys {
    quota: Quota,
    buckets: RwLock<Buckets<IpAddr>>,
    /// Addresses whose bucket is empty, and until when.
    spent: RwLock<HashMap<IpAddr, Instant>>,
    /// Whether there is any. Nearly always there is none, and then nobody has to look.
    any_spent: AtomicBool,
    /// Digests of keys that were good.
    good: RwLock<HashSet<[u8; 32]>>,
}

impl RefusedKeys {
    fn new(tokens: NonZeroU32) -> Option<Self> {
        let quota = quota(tokens)?;
        Some(Self {
            quota,
            buckets: RwLock::new(RateLimiter::dashmap(quota).with_middleware()),
            spent: RwLock::default(),
            any_spent: AtomicBool::new(false),
            good: RwLock::default(),
        })
    }

    fn may_try(&self, address: IpAddr, digest: Option<&[u8; 32]>) -> Result<(), ApiError> {
        if !self.any_spent.load(Ordering::Acquire) {
            return Ok(());
        }
        let until = self.spent.read().unwrap_or_else(PoisonError::into_inner).get(&network(address)).copied();
        let wait = until.and_then(|until| until.checked_duration_since(Instant::now()));
        match wait {
            Some(wait) if !digest.is_some_and(|digest| self.knows(digest)) => {
                Err(ApiError::too_many_refused_keys(whole_seconds(wait)))
            }
            _ => Ok(()),
        }
    }

    /// Forgets addresses that have all of their budget again. Where too many have not, all are forgotten: whoever has spent
    /// the budget stays shut out all the same.
    fn make_room(&self) {
        if self.buckets.read().unwrap_or_else(PoisonError::into_inner).len() < MAX_REMEMBERED {
            return;
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        buckets.retain_recent();
        if buckets.len() > MAX_REMEMBERED / 2 {
            *buckets = RateLimiter::dashmap(self.quota).with_middleware();
        }
    }

    fn count(&self, address: IpAddr) -> ApiError {
        let address = network(address);
        self.make_room();
        let Err(refusal) = self.buckets.read().unwrap_or_else(PoisonError::into_inner).check_key(&address)
        else {
            return ApiError::unauthorized();
        };
        let wait = refusal.wait_time_from(DefaultClock::default().now());
        self.spend(address, Instant::now() + wait);
        ApiError::too_many_refused_keys(whole_seconds(wait))
    }

    /// Notes that the budget of an address is spent, and forgets those of whom that is not true any more.
    fn spend(&self, address: IpAddr, until: Instant) {
        let mut spent = self.spent.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        spent.retain(|_, until| *until > now);
        spent.insert(address, until);
        self.any_spent.store(true, Ordering::Release);
    }

    fn knows(&self, digest: &[u8; 32]) -> bool {
        self.good.read().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn remember(&self, digest: &[u8; 32]) {
        if self.knows(digest) {
            return;
        }
        let mut good = self.good.write().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= MAX_REMEMBERED {
            good.clear();
        }
        good.insert(*digest);
    }
}

/// Whoever has one IPv6 address has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests;
