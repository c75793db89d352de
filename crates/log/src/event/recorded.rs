//! An event with its place in the log.

use identity_domain::Event;
use time::OffsetDateTime;

use crate::event::metadata::Metadata;

pub use identity_domain::moment::{timestamp, write_timestamp};

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The position in the log: 1, 2, 3 … in commit order, without gaps. Clients do not see it.
    pub position: i64,
    /// The organization whose history it belongs to.
    pub organization_id: String,
    /// The position in the history of the organization: 1, 2, 3 … without gaps.
    pub organization_sequence: i64,
    /// The aggregate that it changed.
    pub aggregate_id: String,
    /// The position among the events of the aggregate, without gaps: the aggregate's version after the event.
    pub sequence: i64,
    /// The event itself.
    pub event: Event,
    /// The actor, the request and the software.
    pub metadata: Metadata,
    /// When it was recorded, in whole microseconds. Ascends with the position.
    pub recorded_at: OffsetDateTime,
}
