//! Token buckets: all requests of a window may come at once, and the bucket refills evenly.

use std::fmt::Write as _;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// The window of quotas of requests.
pub(super) const MINUTE: Duration = Duration::from_mins(1);

pub(super) type Buckets<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A bucket of `tokens` tokens. An empty bucket is full again after the window.
pub(super) fn quota(tokens: NonZeroU32, window: Duration) -> Option<Quota> {
    Some(Quota::with_period(window / tokens.get())?.allow_burst(tokens))
}

/// Takes a token. Returns how many remain, or after how many seconds there is one.
pub(super) fn take<K: Hash + Eq + Clone>(buckets: &Buckets<K>, key: &K) -> Result<u32, u32> {
    match buckets.check_key(key) {
        Ok(state) => Ok(state.remaining_burst_capacity()),
        Err(refusal) => Err(whole_seconds(refusal.wait_time_from(DefaultClock::default().now()))),
    }
}

/// The time to wait in whole seconds, rounded up, and at least 1.
pub(crate) fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// A quota of requests a minute, with a bucket for each key or organization.
pub(super) struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    quota: NonZeroU32,
    buckets: Buckets<K>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    pub(super) fn new(name: &'static str, tokens: NonZeroU32) -> Option<Self> {
        let buckets = RateLimiter::dashmap(quota(tokens, MINUTE)?).with_middleware();
        Some(Self { name, quota: tokens, buckets })
    }

    /// Takes a token and adds what remains to `standing`. Returns the seconds to wait if the bucket was empty.
    pub(super) fn take(&self, key: &K, standing: &mut Standing) -> Option<u32> {
        let taken = take(&self.buckets, key);
        standing.add(self.name, self.quota, taken.unwrap_or(0));
        taken.err()
    }
}

/// What remains of the quotas that a request counts against.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(super) policy: String,
    pub(super) standing: String,
}

impl Standing {
    pub(super) fn add(&mut self, name: &str, quota: NonZeroU32, remaining: u32) {
        let window = MINUTE.as_secs();
        let gone = u64::from(quota.get().saturating_sub(remaining));
        let full_in = (gone * window).div_ceil(u64::from(quota.get()));
        let comma = if self.policy.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _: Result<(), _> = write!(self.policy, "{comma}\"{name}\";q={quota};w={window}");
        let _: Result<(), _> = write!(self.standing, "{comma}\"{name}\";r={remaining};t={full_in}");
    }

    /// Writes the fields of an answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in [(POLICY, &self.policy), (STANDING, &self.standing)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}
