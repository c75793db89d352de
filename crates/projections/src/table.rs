//! A read model as jobs see it: something that can be built from the log, read back, and held against the log.

mod builder;
mod check;
mod folder;

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use foldhash::quality::FixedState;
use futures::TryStreamExt as _;
use identity_domain::Kind;
use identity_log::copy::{CopyError, CopyReader, CopyRow};
use identity_log::scan::{AggregateRange, Scan};
use identity_log::{ReadError, ReadModel};
use sqlx::PgConnection;

use crate::projection::{Live, Projection};
use crate::rebuild::JobError;
use builder::Builder;
use check::Check;
use folder::Folder;

/// How many rows, and a sum over their contents that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that were read.
    pub events: u64,
    /// Rows that were written, or found.
    pub rows: u64,
    /// The sum.
    pub checksum: u64,
}

impl Totals {
    fn add_row(&mut self, row: &[u8]) {
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(FixedState::default().hash_one(row));
    }

    /// What two parts come to together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            rows: self.rows + other.rows,
            checksum: self.checksum.wrapping_add(other.checksum),
        }
    }
}

/// How a live row departs from what the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The row's key, its columns joined by `/`. The first of them is the aggregate's id.
    pub id: String,
    /// How.
    pub kind: DifferenceKind,
}

/// The ways in which a row can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The log says there is one.
    Missing,
    /// The log says there is none.
    Extra,
    /// The log says that it reads otherwise.
    Different,
}

/// A read model that jobs can work on.
#[async_trait]
pub trait Table: ReadModel {
    /// The version of the fold in this software.
    fn version(&self) -> i32;

    /// Whose events it folds.
    fn kind(&self) -> Kind;

    /// Folds a range of history from `source` and writes what it comes to through `sink`, whose search path names the
    /// generation that is being built. Counts events on `progress`.
    async fn build(
        &self,
        source: &mut PgConnection,
        sink: &mut PgConnection,
        range: &AggregateRange,
        progress: &AtomicU64,
    ) -> Result<Totals, JobError>;

    /// Reads the table that the search path names, and sums it up.
    async fn read_back(&self, connection: &mut PgConnection) -> Result<Totals, JobError>;

    /// Folds a range of history from `source` and holds it against the rows that `live` sees; both must look at the
    /// same moment. Gives how many events that were, and what is wrong.
    async fn verify(
        &self,
        source: &mut PgConnection,
        live: &mut PgConnection,
        range: &AggregateRange,
        progress: &AtomicU64,
    ) -> Result<(u64, Vec<Difference>), JobError>;
}

#[async_trait]
impl<P: Projection> Table for Live<P> {
    fn version(&self) -> i32 {
        P::VERSION
    }

    fn kind(&self) -> Kind {
        P::KIND
    }

    async fn build(
        &self,
        source: &mut PgConnection,
        sink: &mut PgConnection,
        range: &AggregateRange,
        progress: &AtomicU64,
    ) -> Result<Totals, JobError> {
        let mut builder = Builder::begin::<P>(sink).await?;
        let mut folder = Folder::<P>::default();
        let mut scan = Scan::begin(source, range).await?;
        while let Some(event) = scan.next().await? {
            progress.fetch_add(1, Ordering::Relaxed);
            builder.count_event();
            if let Some(aggregate) = folder.take(&event)? {
                builder.write::<P>(&aggregate).await?;
            }
        }
        if let Some(aggregate) = folder.last() {
            builder.write::<P>(&aggregate).await?;
        }
        builder.finish().await
    }

    async fn read_back(&self, connection: &mut PgConnection) -> Result<Totals, JobError> {
        let statement = format!("copy {} ({}) to stdout (format binary)", P::NAME, P::COLUMNS.join(", "));
        let mut totals = Totals::default();
        read_rows(connection, &statement, |row| {
            totals.add_row(row.as_bytes());
            Ok(())
        })
        .await?;
        Ok(totals)
    }

    async fn verify(
        &self,
        source: &mut PgConnection,
        live: &mut PgConnection,
        range: &AggregateRange,
        progress: &AtomicU64,
    ) -> Result<(u64, Vec<Difference>), JobError> {
        let mut check = Check::begin::<P>(live, range).await?;
        let mut events = 0;
        let mut folder = Folder::<P>::default();
        let mut scan = Scan::begin(source, range).await?;
        while let Some(event) = scan.next().await? {
            progress.fetch_add(1, Ordering::Relaxed);
            events += 1;
            if let Some(aggregate) = folder.take(&event)? {
                check.add::<P>(&aggregate)?;
            }
        }
        if let Some(aggregate) = folder.last() {
            check.add::<P>(&aggregate)?;
        }
        Ok((events, check.finish()))
    }
}

/// Gives every row of a binary copy to `each`.
async fn read_rows(
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
