//! Who saw an identity until an event hid it. The access rows are gone or may have changed since, so they are folded from the
//! history, once for each identity and step.

use std::collections::{BTreeMap, HashMap, HashSet};

use identity_domain::Event;
use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_log::{ReadError, Recorded};
use identity_projections::former::{self, Extent, Former};
use sqlx::PgConnection;
use uuid::Uuid;

/// Whom an event hides an identity from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hides {
    /// All who had access.
    FromAll,
    /// This viewer, which had access.
    From(Uuid),
}

impl Hides {
    /// `None` if an event hides nothing.
    fn of(event: &Recorded) -> Option<Self> {
        let Event::Identity(change) = &event.event else { return None };
        match change {
            IdentityEvent::VisibilityRevoked { viewer_identity_id }
            | IdentityEvent::VisibilityNarrowed { viewer_identity_id, .. } => {
                Some(Self::From(*viewer_identity_id))
            }
            IdentityEvent::Deleted { .. } | IdentityEvent::StatusChanged { status: Status::Paused } => {
                Some(Self::FromAll)
            }
            _ => None,
        }
    }
}

/// Whether an event hides an identity, so that its history has to be read.
pub(super) fn is_hiding(event: &Recorded) -> bool {
    Hides::of(event).is_some()
}

/// Which subscribers saw an identity until an event hid it, by the position of the event.
#[derive(Debug, Default)]
pub(super) struct FormerViewers(HashMap<i64, HashSet<Uuid>>);

impl FormerViewers {
    /// Reads them for those of these events that hide an identity.
    pub(super) async fn load(
        connection: &mut PgConnection,
        events: impl Iterator<Item = &Recorded>,
        subscribers: &HashSet<Uuid>,
    ) -> Result<Self, ReadError> {
        let mut by_identity: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
        for event in events.filter(|event| is_hiding(event)) {
            by_identity.entry(&event.aggregate_id).or_default().push(event);
        }
        let mut viewers = HashMap::new();
        for events in by_identity.values() {
            let see = |event: &Recorded, former: &Former| {
                viewers.insert(event.position, hidden_from(event, former, subscribers));
            };
            former::visit(connection, events, extent(events), see).await?;
        }
        Ok(Self(viewers))
    }

    /// Those of an event.
    pub(super) fn of(&self, event: &Recorded) -> HashSet<Uuid> {
        self.0.get(&event.position).cloned().unwrap_or_default()
    }
}

/// A viewer that an event names had access until then: only the status has to be read.
fn extent(events: &[&Recorded]) -> Extent {
    let needs_access = events.iter().any(|event| Hides::of(event) == Some(Hides::FromAll));
    if needs_access { Extent::StatusAndAccess } else { Extent::Status }
}

/// Nobody, if the identity was paused.
fn hidden_from(event: &Recorded, former: &Former, subscribers: &HashSet<Uuid>) -> HashSet<Uuid> {
    if !former.is_active() {
        return HashSet::new();
    }
    match Hides::of(event) {
        Some(Hides::From(viewer)) => HashSet::from([viewer]),
        Some(Hides::FromAll) => {
            subscribers.iter().copied().filter(|subscriber| former.grants(*subscriber)).collect()
        }
        None => HashSet::new(),
    }
}
