//! What a table contains: totals, differences, and reading its rows.

use std::hash::BuildHasher as _;

use foldhash::quality::FixedState;
use futures::TryStreamExt as _;
use identity_log::ReadError;
use identity_log::copy::{CopyError, CopyReader, CopyRow};
use sqlx::PgConnection;

use crate::job_error::JobError;

/// Counts of events and rows, and a checksum of the rows that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that were read.
    pub events: u64,
    /// Rows that were written, or found.
    pub rows: u64,
    /// The sum of the hashes of all rows.
    pub checksum: u64,
}

impl Totals {
    pub(super) fn add_row(&mut self, row: &[u8]) {
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(FixedState::default().hash_one(row));
    }

    /// The totals of two parts together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            rows: self.rows + other.rows,
            checksum: self.checksum.wrapping_add(other.checksum),
        }
    }
}

/// A row of a live table that differs from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The columns of the row's key, joined by `/`. The first one is the id of the aggregate.
    pub id: String,
    /// How the row differs.
    pub kind: DifferenceKind,
}

/// How a row can differ from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The table lacks the row.
    Missing,
    /// The table has the row, and should not.
    Extra,
    /// The row has other contents.
    Different,
}

/// Calls `each` with every row of a binary copy.
pub(super) async fn read_rows(
    connection: &mut PgConnection,
    statement: &str,
    mut each: impl FnMut(&mut CopyRow<'_>) -> Result<(), CopyError>,
) -> Result<(), JobError> {
    let mut rows = connection.copy_out_raw(statement).await?;
    let mut reader = CopyReader::default();
    while let Some(bytes) = rows.try_next().await? {
        reader.feed(&bytes);
        while let Some(mut row) = reader.next_row().map_err(ReadError::from)? {
            each(&mut row).map_err(ReadError::from)?;
        }
    }
    Ok(reader.finish().map_err(ReadError::from)?)
}
