//! Keys that open nothing, counted by address. A budget that is spent changes what a guesser is told, and nothing for
//! anybody else: a valid key is let in whoever else is at its address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

use governor::{Quota, RateLimiter};

use super::buckets::{Buckets, MINUTE, quota, take};
use crate::client::network;

/// Addresses that are remembered before those that have their whole budget again are forgotten.
pub(super) const MAX_REMEMBERED: usize = 65_536;

/// Refused keys by address.
pub(super) struct RefusedKeys {
    quota: Quota,
    buckets: RwLock<Buckets<IpAddr>>,
}

impl RefusedKeys {
    pub(super) fn new(tokens: NonZeroU32) -> Option<Self> {
        let quota = quota(tokens, MINUTE)?;
        Some(Self { quota, buckets: RwLock::new(RateLimiter::dashmap(quota).with_middleware()) })
    }

    /// Counts a refused key. Fails with the number of seconds to wait if the budget of the address is spent.
    pub(super) fn count(&self, address: IpAddr) -> Result<(), u32> {
        self.make_room();
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        take(&buckets, &network(address)).map(drop)
    }

    /// Forgets addresses that have all of their budget again; all of them, if too many have not.
    fn make_room(&self) {
        if self.remembered() < MAX_REMEMBERED {
            return;
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        buckets.retain_recent();
        if buckets.len() > MAX_REMEMBERED / 2 {
            *buckets = RateLimiter::dashmap(self.quota).with_middleware();
        }
    }

    pub(super) fn remembered(&self) -> usize {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
