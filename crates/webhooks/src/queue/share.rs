//! What one organization may have of a step of the fan-out, so that it delays no other one.

use std::collections::HashMap;

use identity_log::Recorded;
use uuid::Uuid;

/// How many of its events are looked at.
pub(super) const MAX_EVENTS: usize = 128;

/// How many of them may hide an identity: who saw it until then is folded from its history.
const MAX_HIDING: usize = 8;

/// How many rows are queued.
const MAX_ROWS: usize = 256;

/// After how many bytes of payloads no more are queued.
const MAX_BYTES: usize = 1 << 20;

/// How far the events of an organization are queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// All its events up to this sequence.
    pub(super) sequence: i64,
    /// Of the next event, what is for the subscriptions up to this one.
    pub(super) endpoint_id: Option<Uuid>,
}

impl Place {
    /// Behind an event of the organization.
    pub(super) fn behind(event: &Recorded) -> Self {
        Self { sequence: event.organization_sequence, endpoint_id: None }
    }

    /// Before an event of the organization.
    pub(super) fn before(event: &Recorded) -> Self {
        Self { sequence: event.organization_sequence - 1, endpoint_id: None }
    }
}

/// Where the share of an organization was used up.
#[derive(Debug, Clone, Copy)]
struct UsedUp {
    place: Place,
    /// The position of the first event that is not queued whole.
    position: i64,
}

/// What the organization has used.
#[derive(Debug, Default)]
struct Used {
    events: usize,
    hiding: usize,
    rows: usize,
    bytes: usize,
    /// The last event of which something was queued, and for which subscription.
    last: Option<(i64, Uuid)>,
}

/// The shares of all organizations in one step.
#[derive(Debug, Default)]
pub(super) struct Shares {
    used: HashMap<String, Used>,
    used_up: HashMap<String, UsedUp>,
}

impl Shares {
    /// Whether there is room to look at an event. Its rows have a share of their own.
    pub(super) fn admit(&mut self, event: &Recorded, is_hiding: bool) -> bool {
        if self.is_used_up(&event.organization_id) {
            return false;
        }
        let used = self.used.entry(event.organization_id.clone()).or_default();
        let has_room = used.events < MAX_EVENTS && (!is_hiding || used.hiding < MAX_HIDING);
        used.events += 1;
        used.hiding += usize::from(is_hiding);
        if !has_room {
            self.end(event, Place::before(event));
        }
        has_room
    }

    /// Whether there is room for the row of a subscription.
    pub(super) fn has_room(&mut self, event: &Recorded) -> bool {
        let organization = &event.organization_id;
        let used = self.used.get(organization);
        if used.is_none_or(|used| used.rows < MAX_ROWS && used.bytes < MAX_BYTES) {
            // What was not admitted comes behind what was.
            return self.used_up.get(organization).is_none_or(|used_up| event.position < used_up.position);
        }
        let last = used.and_then(|used| used.last).filter(|(position, _)| *position == event.position);
        let place = Place { endpoint_id: last.map(|(_, endpoint)| endpoint), ..Place::before(event) };
        self.end(event, place);
        false
    }

    /// Counts what was queued for a subscription, which may be nothing.
    pub(super) fn take(&mut self, event: &Recorded, endpoint: Uuid, bytes: Option<usize>) {
        let used = self.used.entry(event.organization_id.clone()).or_default();
        used.rows += usize::from(bytes.is_some());
        used.bytes += bytes.unwrap_or_default();
        used.last = Some((event.position, endpoint));
    }

    /// Where the shares were used up, if that was not behind this position.
    pub(super) fn used_up(self, upto: i64) -> HashMap<String, Place> {
        let before = self.used_up.into_iter().filter(|(_, used_up)| used_up.position <= upto);
        before.map(|(organization, used_up)| (organization, used_up.place)).collect()
    }

    fn is_used_up(&self, organization: &str) -> bool {
        self.used_up.contains_key(organization)
    }

    /// The share ends here, if it has not ended before.
    fn end(&mut self, event: &Recorded, place: Place) {
        let ended = UsedUp { place, position: event.position };
        let known = self.used_up.entry(event.organization_id.clone()).or_insert(ended);
        if known.position > ended.position {
            *known = ended;
        }
    }
}
