//! A read model as jobs use it: it can be built from the log, read back, and compared with the log.

mod builder;
mod check;
mod contents;
mod folder;

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use identity_log::ReadModel;
use identity_log::scan::{AggregateRange, Scan, Selection};
use sqlx::PgConnection;

use crate::columns::{Shape, names};
use crate::job_error::JobError;
use crate::projection::{Live, Projection};
use builder::Builder;
use check::Check;
use contents::read_rows;
use folder::Folder;

pub use contents::{Difference, DifferenceKind, Totals};

/// A read model that jobs can work on.
#[async_trait]
pub trait Table: ReadModel {
    /// The version of the fold in this software.
    fn version(&self) -> i32;

    /// The events that it folds.
    fn selection(&self) -> Selection;

    /// What is needed to make the table.
    fn shape(&self) -> Shape;

    /// Folds a range of the log from `source`, and writes the rows through `sink`, whose search path names the table
    /// that is being built. Adds the number of events to `progress`.
    async fn build(
        &self,
        source: &mut PgConnection,
        sink: &mut PgConnection,
        range: &AggregateRange,
        progress: &AtomicU64,
    ) -> Result<Totals, JobError>;

    /// Reads the table that the search path names, and returns its totals.
    async fn read_back(&self, connection: &mut PgConnection) -> Result<Totals, JobError>;

    /// Folds a range of the log from `source`, and compares it with the rows that `live` reads. Both must have the
    /// same snapshot. Returns the number of events, and the differences.
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

    fn selection(&self) -> Selection {
        Selection { kind: P::KIND, event_types: P::EVENT_TYPES }
    }

    fn shape(&self) -> Shape {
        Shape { name: P::NAME, columns: P::COLUMNS, key_columns: P::KEY_COLUMNS, indexes: P::INDEXES }
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
        let statement = format!("copy {} ({}) to stdout (format binary)", P::NAME, names(P::COLUMNS));
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
