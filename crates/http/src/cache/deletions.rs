//! The last deletion of an identity in each organization. A cached body that names viewers is stale after any deletion
//! there, since the deleted identity may be one of the viewers.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ticket::Ticket;

/// The size of the table, which does not grow with the number of organizations. Two organizations may share a slot; then a
/// deletion in one of them also makes entries of the other stale.
const SLOTS: usize = 4096;

/// The number of the invalidation by the last deletion, for each slot.
#[derive(Debug)]
pub(super) struct Deletions {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Deletions {
    /// Records a deletion.
    pub(super) fn note(&self, organization_id: &str, Ticket(number): Ticket) {
        if let Some(slot) = self.slot(organization_id) {
            slot.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// Whether an identity of the organization may have been deleted after the ticket.
    pub(super) fn any_since(&self, organization_id: &str, Ticket(number): Ticket) -> bool {
        self.slot(organization_id).is_none_or(|slot| slot.load(Ordering::Acquire) > number)
    }

    fn slot(&self, organization_id: &str) -> Option<&AtomicU64> {
        let hash = usize::try_from(self.hasher.hash_one(organization_id) % SLOTS as u64);
        hash.ok().and_then(|index| self.slots.get(index))
    }
}

impl Default for Deletions {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, hasher: RandomState::new() }
    }
}
