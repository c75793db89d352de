//! Limits how many connections to the database a key, and an organization, use at the same time. A further request waits in the
//! queue of its key or organization, so it does not delay others. Of what is large, a key reads one at a time, and an organization
//! two: a piece of a long answer, an identity with very many viewers, an identity as of a moment.

use identity_projections::api_keys::Row as KeyRow;
use uuid::Uuid;

use super::queues::{Queues, Taken};
use super::shares::OfHolders;

/// How many large reads at the same time.
const LARGE: OfHolders = OfHolders { key: 1, organization: 2 };

/// The turns of all keys and organizations.
#[derive(Debug)]
pub(crate) struct Turns {
    keys: Queues<Uuid>,
    organizations: Queues<String>,
    large_of_keys: Queues<Uuid>,
    large_of_organizations: Queues<String>,
}

/// A turn of a key and its organization. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _key: Taken<Uuid>,
    _organization: Taken<String>,
    /// The turns of a large read, if it is one.
    large: Option<(Taken<Uuid>, Taken<String>)>,
}

impl Turns {
    /// So many turns at the same time, and at least one.
    pub(super) fn new(most: OfHolders) -> Self {
        Self {
            keys: Queues::new(most.key),
            organizations: Queues::new(most.organization),
            large_of_keys: Queues::new(LARGE.key),
            large_of_organizations: Queues::new(LARGE.organization),
        }
    }

    /// Waits for the turn of a request of this key.
    pub(crate) async fn take(&self, key: &KeyRow) -> Turn {
        // In this order, so that the requests of one key do not keep turns of their organization while they wait.
        let of_key = self.keys.take(&key.id, 1).await;
        let of_organization = self.organizations.take(&key.organization_id, 1).await;
        Turn { _key: of_key, _organization: of_organization, large: None }
    }

    /// Waits for the turn of a large read. The caller gives back any other turn first: otherwise two requests could wait for each
    /// other.
    pub(crate) async fn take_large(&self, key: &KeyRow) -> Turn {
        let of_key = self.large_of_keys.take(&key.id, 1).await;
        let of_organization = self.large_of_organizations.take(&key.organization_id, 1).await;
        Turn { large: Some((of_key, of_organization)), ..self.take(key).await }
    }
}

impl Turn {
    /// Whether this is the turn of a large read.
    pub(crate) fn is_large(&self) -> bool {
        self.large.is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures::FutureExt as _;
    use identity_projections::api_keys::{KeyScope, Row as KeyRow};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::{OfHolders, Turns};

    pub(in crate::limits) fn key(id: u128, organization_id: &str) -> KeyRow {
        KeyRow {
            id: Uuid::from_u128(id),
            organization_id: organization_id.to_owned(),
            scope: KeyScope::Admin,
            identity_id: None,
            label: String::new(),
            description: None,
            secret_sha256: vec![],
            last4: String::new(),
            created_by: String::new(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            revoked_at: None,
            expires_at: None,
            previous_sha256: None,
            previous_valid_until: None,
            rotated_at: None,
        }
    }

    #[tokio::test]
    async fn a_key_and_an_organization_have_their_turns_and_leave_the_others_theirs() {
        let turns = Turns::new(OfHolders { key: 2, organization: 3 });
        let (one, other, stranger) = (key(1, "a"), key(2, "a"), key(3, "b"));
        let taken = (turns.take(&one).await, turns.take(&one).await);
        assert!(turns.take(&one).now_or_never().is_none(), "the key has as many as it may");
        let third = turns.take(&other).await;
        assert!(turns.take(&other).now_or_never().is_none(), "the organization has as many as it may");
        assert!(turns.take(&stranger).now_or_never().is_some());
        drop(taken);
        assert!(turns.take(&one).now_or_never().is_some());
        drop(third);
        assert!(turns.keys.is_unused(), "who uses nothing takes no memory");
        assert!(turns.organizations.is_unused());
    }

    #[tokio::test]
    async fn of_what_is_large_a_key_reads_one_at_a_time_and_an_organization_two() {
        let turns = Turns::new(OfHolders { key: 4, organization: 4 });
        let (one, other, third, stranger) = (key(1, "a"), key(2, "a"), key(3, "a"), key(4, "b"));
        let first = turns.take_large(&one).await;
        assert!(turns.take_large(&one).now_or_never().is_none(), "the key has one");
        assert!(turns.take(&one).now_or_never().is_some(), "what is not large does not wait");
        let second = turns.take_large(&other).await;
        assert!(turns.take_large(&third).now_or_never().is_none(), "the organization has two");
        assert!(turns.take_large(&stranger).now_or_never().is_some());
        drop(first);
        assert!(turns.take_large(&one).now_or_never().is_some());
        drop(second);
    }
}
