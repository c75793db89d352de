//! A read model as jobs use it: it can be built from the log, read back, and compared with the log.

mod builder;
mod check;
mod contents;
mod folder;

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use identity_log::scan::{AggregateRange, AggregateSet, Scan, Selection};
use identity_log::{ReadModel, Recorded};
use sqlx::PgConnection;

use crate::columns::{Column, Shape, names};
use crate::job_error::JobError;
use crate::projection::{LiveProjection, Projection};
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

    /// Whether requests cannot be answered without it.
    fn is_needed(&self) -> bool;

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

    /// Begins to compare the rows of aggregates, which `live` reads, with folded events.
    async fn check(
        &self,
        live: &mut PgConnection,
        aggregates: &AggregateSet,
    ) -> Result<Box<dyn RowCheck>, JobError>;

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

/// A comparison of the rows of aggregates with their events, which are given to it aggregate by aggregate and in order.
pub trait RowCheck: Send {
    /// Folds an event.
    fn take(&mut self, event: &Recorded) -> Result<(), JobError>;

    /// The rows that differ, after the last event.
    fn finish(self: Box<Self>) -> Result<Vec<Difference>, JobError>;
}

struct FoldingCheck<P: Projection> {
    folder: Folder<P>,
    check: Check,
}

impl<P: Projection> FoldingCheck<P> {
    fn of(check: Check) -> Self {
        Self { folder: Folder::default(), check }
    }
}

impl<P: Projection> RowCheck for FoldingCheck<P> {
    fn take(&mut self, event: &Recorded) -> Result<(), JobError> {
        self.folder.take(event)?.map_or(Ok(()), |aggregate| self.check.add::<P>(&aggregate))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Difference>, JobError> {
        let Self { folder, mut check } = *self;
        if let Some(aggregate) = folder.last() {
            check.add::<P>(&aggregate)?;
        }
        Ok(check.finish::<P>())
    }
}

impl dyn Table + '_ {
    /// The column of the id of the aggregate.
    pub(crate) fn id_column(&self) -> &'static str {
        self.shape().columns.first().map_or("id", |column| column.name)
    }

    /// Whether the ids of its aggregates are UUIDs.
    pub(crate) fn is_by_uuid(&self) -> bool {
        self.shape().columns.first().is_some_and(Column::is_uuid)
    }

    pub(crate) fn has_column(&self, name: &str) -> bool {
        self.shape().columns.iter().any(|column| column.name == name)
    }
}

#[async_trait]
impl<P: Projection> Table for LiveProjection<P> {
    fn version(&self) -> i32 {
        P::VERSION
    }

    fn is_needed(&self) -> bool {
        P::IS_NEEDED
    }

    fn selection(&self) -> Selection {
        Selection { kind: P::KIND, event_types: P::EVENT_TYPES, min_events: P::MIN_EVENTS }
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

    async fn check(
        &self,
        live: &mut PgConnection,
        aggregates: &AggregateSet,
    ) -> Result<Box<dyn RowCheck>, JobError> {
        let check = Check::begin::<P>(live, |id| aggregates.condition(id)).await?;
        Ok(Box::new(FoldingCheck::<P>::of(check)))
    }

    async fn verify(
        &self,
        source: &mut PgConnection,
        live: &mut PgConnection,
        range: &AggregateRange,
        progress: &AtomicU64,
    ) -> Result<(u64, Vec<Difference>), JobError> {
        let check = Check::begin::<P>(live, |id| range.condition(id)).await?;
        let mut check = Box::new(FoldingCheck::<P>::of(check));
        let mut events = 0;
        let mut scan = Scan::begin(source, range).await?;
        while let Some(event) = scan.next().await? {
            progress.fetch_add(1, Ordering::Relaxed);
            events += 1;
            check.take(&event)?;
        }
        Ok((events, check.finish()?))
    }
}
