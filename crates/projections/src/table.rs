//! A read model as jobs see it: something that can be built from the log, read back, and held against the log.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use identity_domain::Kind;
use identity_log::copy::{CopyError, CopyReader, CopyRow, CopyWriter};
use identity_log::scan::{Range, Scan};
use identity_log::{ReadError, ReadModel, Recorded};
use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;
use uuid::Uuid;

use crate::projection::{Live, Projection};
use crate::rebuild::JobError;

/// How many bytes gather before they are sent to the table.
const CHUNK: usize = 256 * 1024;

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
        let mut hasher = DefaultHasher::new();
        hasher.write(row);
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(hasher.finish());
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
    /// Which aggregate's row.
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
        range: &Range,
        progress: &AtomicU64,
    ) -> Result<Totals, JobError>;

    /// Reads the table that the search path names, and sums it up.
    async fn read_back(&self, connection: &mut PgConnection) -> Result<Totals, JobError>;

    /// Folds a range of history from `source` and holds it against the rows that `live` sees; both must look at the
    /// same moment.
    async fn verify(
        &self,
        source: &mut PgConnection,
        live: &mut PgConnection,
        range: &Range,
        progress: &AtomicU64,
    ) -> Result<Vec<Difference>, JobError>;
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
        range: &Range,
        progress: &AtomicU64,
    ) -> Result<Totals, JobError> {
        let statement = format!("copy {} ({}) from stdin (format binary)", P::NAME, P::COLUMNS.join(", "));
        let sink = sink.copy_in_raw(&statement).await?;
        let mut builder = Builder { sink, writer: CopyWriter::default(), totals: Totals::default() };
        let mut folder = Folder::<P>::default();
        let mut scan = Scan::begin(source, range).await?;
        while let Some(event) = scan.next().await? {
            progress.fetch_add(1, Ordering::Relaxed);
            builder.totals.events += 1;
            if let Some(aggregate) = folder.take(&event) {
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
        range: &Range,
        progress: &AtomicU64,
    ) -> Result<Vec<Difference>, JobError> {
        let mut check = Check::begin::<P>(live, range).await?;
        let mut folder = Folder::<P>::default();
        let mut scan = Scan::begin(source, range).await?;
        while let Some(event) = scan.next().await? {
            progress.fetch_add(1, Ordering::Relaxed);
            if let Some(aggregate) = folder.take(&event) {
                check.add::<P>(&aggregate)?;
            }
        }
        if let Some(aggregate) = folder.last() {
            check.add::<P>(&aggregate)?;
        }
        Ok(check.finish())
    }
}

/// What one aggregate comes to.
type Folded<P> = (String, Option<<P as Projection>::Row>);

/// Folds events that come aggregate by aggregate, holding one of them.
struct Folder<P: Projection> {
    present: Option<Folded<P>>,
}

impl<P: Projection> Default for Folder<P> {
    fn default() -> Self {
        Self { present: None }
    }
}

impl<P: Projection> Folder<P> {
    /// Folds an event; gives the aggregate before it when it is the first of another.
    fn take(&mut self, event: &Recorded) -> Option<Folded<P>> {
        if let Some((id, row)) = &mut self.present
            && *id == event.aggregate_id
        {
            *row = P::fold(row.take(), event);
            return None;
        }
        self.present.replace((event.aggregate_id.clone(), P::fold(None, event)))
    }

    fn last(self) -> Option<Folded<P>> {
        self.present
    }
}

/// Writes rows into the table that is being built.
struct Builder<'a> {
    sink: PgCopyIn<&'a mut PgConnection>,
    writer: CopyWriter,
    totals: Totals,
}

impl Builder<'_> {
    async fn write<P: Projection>(&mut self, (id, row): &Folded<P>) -> Result<(), JobError> {
        let Some(row) = row else {
            return Ok(());
        };
        P::copy(id, row, &mut self.writer)?;
        if self.writer.len() >= CHUNK {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), JobError> {
        for row in self.writer.rows() {
            self.totals.add_row(row);
        }
        self.sink.send(self.writer.take()).await?;
        Ok(())
    }

    async fn finish(mut self) -> Result<Totals, JobError> {
        for row in self.writer.rows() {
            self.totals.add_row(row);
        }
        self.sink.send(self.writer.end()).await?;
        let written = self.sink.finish().await?;
        if written == self.totals.rows {
            Ok(self.totals)
        } else {
            Err(JobError::Rows { written, expected: self.totals.rows })
        }
    }
}

/// Holds folded aggregates against the rows of a live table, byte for byte as both go over the wire. Of every live row
/// only a sum is kept, so a range of any table fits into memory.
#[derive(Default)]
struct Check {
    live: HashMap<Vec<u8>, Totals>,
    differences: Vec<Difference>,
}

impl Check {
    async fn begin<P: Projection>(live: &mut PgConnection, range: &Range) -> Result<Self, JobError> {
        let columns = P::COLUMNS.join(", ");
        let condition = range.condition(P::COLUMNS.first().copied().unwrap_or("id"));
        let statement =
            format!("copy (select {columns} from {} where {condition}) to stdout (format binary)", P::NAME);
        let mut check = Self::default();
        read_rows(live, &statement, |row| {
            let key = row.bytes()?.unwrap_or_default().to_vec();
            check.live.entry(key).or_default().add_row(row.as_bytes());
            Ok(())
        })
        .await?;
        Ok(check)
    }

    fn add<P: Projection>(&mut self, (id, row): &Folded<P>) -> Result<(), JobError> {
        let mut expected = Totals::default();
        if let Some(row) = row {
            let mut writer = CopyWriter::default();
            P::copy(id, row, &mut writer)?;
            writer.rows().for_each(|row| expected.add_row(row));
        }
        let found = self.live.remove(&key_of(id)).unwrap_or_default();
        if expected != found {
            let kind = match (expected.rows, found.rows) {
                (_, 0) => DifferenceKind::Missing,
                (0, _) => DifferenceKind::Extra,
                _ => DifferenceKind::Different,
            };
            self.differences.push(Difference { id: id.clone(), kind });
        }
        Ok(())
    }

    /// Rows that the log never spoke of are left over.
    fn finish(self) -> Vec<Difference> {
        let extra = self.live.keys().map(|key| Difference { id: id_of(key), kind: DifferenceKind::Extra });
        self.differences.into_iter().chain(extra).collect()
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

/// An aggregate's id as the first column of its rows holds it.
fn key_of(id: &str) -> Vec<u8> {
    id.parse::<Uuid>().map_or_else(|_| id.as_bytes().to_vec(), |uuid| uuid.as_bytes().to_vec())
}

fn id_of(key: &[u8]) -> String {
    Uuid::from_slice(key).map_or_else(|_| String::from_utf8_lossy(key).into_owned(), |uuid| uuid.to_string())
}
