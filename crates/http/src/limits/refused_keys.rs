//! Requests with invalid keys, counted by address. Once the budget of an address is spent, invalid keys from it get 429
//! instead of 401. A valid key from the same address is accepted all the same.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

use governor::{Quota, RateLimiter};

use super::buckets::{Buckets, MINUTE, quota, take};
use crate::client::network;

/// How many addresses are remembered at most.
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

    /// If there are too many addresses, forgets those whose budget is full again. If more than half of the limit remains,
    /// forgets all.
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
