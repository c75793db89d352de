//! Limits how many bytes of large answers are in memory until their clients have read them. An answer that is in memory as a whole is
//! refused if there is no room for it. A piece of an answer waits. One that is larger than the limit is let in while there is no other.

use identity_projections::api_keys::Row as KeyRow;
use uuid::Uuid;

use super::queues::{Queues, Taken};
use super::shares::OfHolders;

/// How many bytes of large answers and pieces.
const MAX_LARGE_BYTES: OfHolders = OfHolders { key: 128 * 1024 * 1024, organization: 256 * 1024 * 1024 };

/// How many bytes of other answers. It takes eight keys to use up those of an organization.
const MAX_OTHER_BYTES: OfHolders = OfHolders { key: 32 * 1024 * 1024, organization: 256 * 1024 * 1024 };

/// Bytes are counted in units of this size.
const UNIT: usize = 1024;

/// The bytes of all keys and organizations.
#[derive(Debug)]
pub(crate) struct InMemory {
    keys: Queues<Uuid>,
    organizations: Queues<String>,
}

/// Bytes that are in memory until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _key: Taken<Uuid>,
    _organization: Taken<String>,
}

impl InMemory {
    /// For large answers and pieces.
    pub(super) fn of_large() -> Self {
        Self::new(MAX_LARGE_BYTES)
    }

    /// For answers that are neither large nor small.
    pub(super) fn of_others() -> Self {
        Self::new(MAX_OTHER_BYTES)
    }

    fn new(bytes: OfHolders) -> Self {
        Self { keys: Queues::new(bytes.key / UNIT), organizations: Queues::new(bytes.organization / UNIT) }
    }

    /// Room for so many bytes; `None` if there is none at present.
    pub(super) fn try_take(&self, key: &KeyRow, bytes: usize) -> Option<Held> {
        let units = bytes.div_ceil(UNIT);
        let of_key = self.keys.try_take(&key.id, units)?;
        let of_organization = self.organizations.try_take(&key.organization_id, units)?;
        Some(Held { _key: of_key, _organization: of_organization })
    }

    /// Waits for room for so many bytes.
    pub(super) async fn take(&self, key: &KeyRow, bytes: usize) -> Held {
        let units = bytes.div_ceil(UNIT);
        let of_key = self.keys.take(&key.id, units).await;
        let of_organization = self.organizations.take(&key.organization_id, units).await;
        Held { _key: of_key, _organization: of_organization }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::super::turns::tests::key;
    use super::{InMemory, MAX_LARGE_BYTES as MAX_BYTES};

    #[tokio::test]
    async fn what_is_not_read_yet_is_bounded_in_bytes_for_a_key_and_for_an_organization() {
        let unsent = InMemory::of_large();
        let (one, other, third, stranger) = (key(1, "a"), key(2, "a"), key(3, "a"), key(4, "b"));
        let half = MAX_BYTES.key / 2;
        let first = unsent.try_take(&one, half).unwrap();
        let second = unsent.take(&one, half).await;
        assert!(unsent.try_take(&one, 1).is_none(), "the key has as much as it may");
        assert!(unsent.take(&one, 1).now_or_never().is_none());
        let rest = unsent.try_take(&other, MAX_BYTES.key).unwrap();
        assert!(unsent.try_take(&third, 1).is_none(), "the organization has as much as it may");
        assert!(unsent.try_take(&stranger, 10 * MAX_BYTES.organization).is_some(), "there is no other");
        drop(first);
        assert!(unsent.try_take(&one, half).is_some());
        assert!(unsent.try_take(&third, half + 1).is_none());
        drop((second, rest));
        assert!(
            unsent.keys.is_unused() && unsent.organizations.is_unused(),
            "who has nothing takes no memory"
        );
    }
}
