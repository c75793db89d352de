//! How much a task claims, so that one organization does not take all the places that it has.

/// How many claims are made in one statement.
const MAX_CLAIMED: usize = 256;

/// The places of a task: how many claims it works on at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) all: usize,
    /// How many places organizations may take with their whole share. While at least this many are taken, an organization may
    /// have only the small share. The remaining places are for organizations that have fewer.
    pub(crate) of_large_shares: usize,
    /// How many claims of one organization all processes work on at the same time.
    pub(crate) share: i64,
    /// The same limit while this process has few free places. An organization with more claims waits then.
    pub(crate) small_share: i64,
}

/// What may be claimed next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Free {
    /// The number of claims.
    pub(crate) places: usize,
    /// How many claims of one organization all processes may work on, with these.
    pub(crate) share: i64,
}

impl Places {
    /// What may be claimed while so many places are taken; `None` if nothing may be.
    pub(crate) fn free(&self, taken: usize) -> Option<Free> {
        let (limit, share) = if taken < self.of_large_shares {
            (self.of_large_shares, self.share)
        } else {
            (self.all, self.small_share)
        };
        let places = limit.saturating_sub(taken).min(MAX_CLAIMED);
        (places > 0).then_some(Free { places, share })
    }
}

impl Free {
    /// The number of claims, as the database takes it.
    pub(crate) fn limit(&self) -> i64 {
        i64::try_from(self.places).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Free, MAX_CLAIMED, Places};

    #[test]
    fn the_last_places_are_for_organizations_that_have_few() {
        let places = Places { all: 400, of_large_shares: 300, share: 100, small_share: 10 };
        for (taken, free) in [(0, MAX_CLAIMED), (44, 256), (45, 255), (299, 1)] {
            assert_eq!(places.free(taken), Some(Free { places: free, share: 100 }));
        }
        for (taken, free) in [(300, 100), (399, 1)] {
            assert_eq!(places.free(taken), Some(Free { places: free, share: 10 }));
        }
        for taken in [400, 401] {
            assert_eq!(places.free(taken), None);
        }
    }
}
