//! When an identity last ended in an organization: what names its viewers is out of date from then on, whoever it was.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::Ticket;

/// How many organizations are told apart, so that those whom nobody uses any more take no memory. Others share a place with
/// one of these: what the one loses to a death is read again in the other, too.
const PLACES: usize = 4096;

/// The last deaths, counted in drops.
#[derive(Debug)]
pub(super) struct Deaths {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Deaths {
    /// Takes note of a death.
    pub(super) fn note(&self, organization_id: &str, Ticket(number): Ticket) {
        if let Some(place) = self.place(organization_id) {
            place.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// Whether anybody may have ended after this.
    pub(super) fn any_since(&self, organization_id: &str, Ticket(number): Ticket) -> bool {
        self.place(organization_id).is_none_or(|place| place.load(Ordering::Acquire) > number)
    }

    fn place(&self, organization_id: &str) -> Option<&AtomicU64> {
        let hash = usize::try_from(self.hasher.hash_one(organization_id) % PLACES as u64);
        hash.ok().and_then(|place| self.places.get(place))
    }
}

impl Default for Deaths {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { places, hasher: RandomState::new() }
    }
}
