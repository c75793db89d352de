//! What has removed entries from the cache lately, and what keeps entries from being stored.

use std::collections::{HashSet, VecDeque};

use identity_domain::{Event, identity};
use identity_log::Recorded;
use identity_log::read::Change;
use uuid::Uuid;

use super::ticket::Ticket;

/// An event that changed the aggregate `id`, which has this version since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Invalidation {
    pub(super) number: u64,
    pub(super) id: Uuid,
    pub(super) version: i64,
}

#[derive(Debug, Default)]
pub(super) struct Invalidations {
    pub(super) recent: VecDeque<Invalidation>,
    /// The number of the last invalidation that is not in `recent`.
    pub(super) forgotten: u64,
    pub(super) sent: Sent,
    /// Whether the outcome of a batch is not known, so that this process must not be the sole one.
    pub(super) is_outcome_unknown: bool,
}

/// The changes of the batch that was sent and whose outcome is not known yet.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Keys and identities.
    pub(super) ids: HashSet<Uuid>,
    /// Organizations of identities that it deletes.
    pub(super) deletes_in: HashSet<String>,
}

impl Sent {
    pub(super) fn of(changes: &[Change]) -> Self {
        let ids = changes.iter().map(|change| change.id).collect();
        Self { ids, deletes_in: changes.iter().filter_map(|change| change.ended_in.clone()).collect() }
    }
}

impl Invalidations {
    /// Whether an invalidation after the ticket affects an entry. True also if the invalidations after the ticket are not
    /// all remembered.
    pub(super) fn any_since(&self, ticket: Ticket, affects: impl Fn(&Invalidation) -> bool) -> bool {
        ticket.0 < self.forgotten
            || self.recent.iter().rev().take_while(|one| one.number > ticket.0).any(affects)
    }
}

/// The change that an event makes; `None` if the id of its aggregate is no UUID.
pub(super) fn change(recorded: &Recorded) -> Option<Change> {
    let ended = matches!(recorded.event, Event::Identity(identity::Event::Deleted { .. }));
    Some(Change {
        kind: recorded.event.kind(),
        id: recorded.aggregate_id.parse().ok()?,
        version: recorded.sequence,
        ended_in: ended.then(|| recorded.organization_id.clone()),
    })
}
