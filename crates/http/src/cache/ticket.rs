//! A ticket: when a query began, counted in invalidations of the cache.

/// The number of the last invalidation before a query began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(super) u64);
