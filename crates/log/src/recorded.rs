//! An event as it stands in the log.

use identity_domain::Event;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::metadata::Metadata;

/// An event with its place in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Dense over the whole log: 1, 2, 3 … in commit order. Not shown to tenants.
    pub position: i64,
    /// Whose history it belongs to.
    pub organization_id: String,
    /// Dense within the organization.
    pub organization_sequence: i64,
    /// What it happened to.
    pub aggregate_id: String,
    /// Dense within the aggregate; the aggregate's version after it.
    pub sequence: i64,
    /// What happened.
    pub event: Event,
    /// Who did it.
    pub metadata: Metadata,
    /// When, to the microsecond; ascending with the position.
    pub recorded_at: OffsetDateTime,
}

const TIMESTAMP: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// RFC 3339 in UTC with six digits: how every moment is written, in answers and under hashes.
pub fn timestamp(moment: OffsetDateTime) -> String {
    // Formatting only fails for years that the format cannot hold, and Postgres's clock does not give them.
    moment.to_offset(time::UtcOffset::UTC).format(TIMESTAMP).unwrap_or_default()
}
