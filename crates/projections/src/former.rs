//! Identities just before some of their events: whether they were active, and who had access.

use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_domain::{Event, Kind};
use identity_log::history::{History, Query};
use identity_log::{ReadError, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::projection::Projection as _;
use crate::states::{self, StoredRows, Upto};
use crate::visibility::{Rows, VisibilityRows};

/// The event that changes the status.
const STATUS: &str = "identity.status_changed";

/// The events that change who has access. A deletion is the last event, so nothing is before its end.
const ACCESS: [&str; 4] = [
    "identity.visibility_granted",
    "identity.visibility_opened",
    "identity.visibility_revoked",
    "identity.visibility_narrowed",
];

/// What is read of the history of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Only changes of the status.
    Status,
    /// Changes of the status and of the access.
    StatusAndAccess,
}

/// An identity at a moment.
#[derive(Debug)]
pub struct Former {
    status: Status,
    access: Option<Rows>,
}

impl Former {
    /// Whether it was active.
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    /// Whether this viewer had access, with a row of its own or one for everybody.
    pub fn grants(&self, viewer: Uuid) -> bool {
        self.access.as_ref().is_some_and(|rows| rows.contains_key(&Some(viewer)) || rows.contains_key(&None))
    }

    /// As it is when it was created.
    fn new() -> Self {
        Self { status: Status::Active, access: None }
    }

    fn stored(rows: StoredRows) -> Self {
        let StoredRows { rows, .. } = rows;
        Self { status: rows.row.map_or(Status::Active, |row| row.document.status), access: rows.access }
    }

    fn evolve(&mut self, recorded: &Recorded) {
        if let Event::Identity(IdentityEvent::StatusChanged { status }) = &recorded.event {
            self.status = *status;
        }
        self.access = VisibilityRows::fold(self.access.take(), recorded);
    }
}

/// Visits an identity as it was before each of these events of it, which are in order. One statement reads the history, up to the
/// last of the events and without events that change nothing of the extent. A long history is read from the last stored state on.
pub async fn visit(
    connection: &mut PgConnection,
    events: &[&Recorded],
    extent: Extent,
    mut visit: impl FnMut(&Recorded, &Former) + Send,
) -> Result<(), ReadError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
    let upto = Upto::Sequence(first.sequence - 1);
    let stored =
        states::last_identity_rows(connection, &first.organization_id, &first.aggregate_id, upto).await?;
    let after_version = stored.as_ref().map_or(0, |stored| stored.sequence);
    let mut former = stored.map_or_else(Former::new, Former::stored);
    let mut history = History::begin(connection, &query(last, extent, after_version));
    let mut events = events.iter().peekable();
    while let Some(entry) = history.next().await? {
        let recorded = entry.recorded()?;
        while let Some(event) = events.next_if(|event| event.sequence <= recorded.sequence) {
            visit(event, &former);
        }
        former.evolve(&recorded);
    }
    events.for_each(|event| visit(event, &former));
    Ok(())
}

fn query(last: &Recorded, extent: Extent, after_version: i64) -> Query {
    let access = if extent == Extent::Status { &[] } else { ACCESS.as_slice() };
    let types = access.iter().chain(&[STATUS]).map(|name| (*name).to_owned());
    Query {
        kind: Some(Kind::Identity),
        aggregate_ids: Some(vec![last.aggregate_id.clone()]),
        after_version,
        event_types: Some(types.collect()),
        metadata: false,
        ..Query::range(&last.organization_id, 0, last.organization_sequence - 1)
    }
}
