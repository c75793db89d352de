//! Writing the rows of aggregates with binary COPY.

use identity_log::copy::CopyWriter;
use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;

use super::contents::Totals;
use super::folder::Folded;
use crate::columns::names;
use crate::job_error::JobError;
use crate::projection::Projection;

/// How many bytes are gathered before they are sent to Postgres.
const BYTES_PER_SEND: usize = 256 * 1024;

/// Writes rows into the table that is being built.
pub(super) struct Builder<'a> {
    sink: PgCopyIn<&'a mut PgConnection>,
    writer: CopyWriter,
    totals: Totals,
}

impl<'a> Builder<'a> {
    pub(super) async fn begin<P: Projection>(sink: &'a mut PgConnection) -> Result<Self, JobError> {
        let statement = format!("copy {} ({}) from stdin (format binary)", P::NAME, names(P::COLUMNS));
        let sink = sink.copy_in_raw(&statement).await?;
        Ok(Self { sink, writer: CopyWriter::default(), totals: Totals::default() })
    }

    /// Counts an event as read.
    pub(super) fn count_event(&mut self) {
        self.totals.events += 1;
    }

    pub(super) async fn write<P: Projection>(&mut self, (id, row): &Folded<P>) -> Result<(), JobError> {
        let Some(row) = row else {
            return Ok(());
        };
        P::copy(id, row, &mut self.writer)?;
        if self.writer.len() >= BYTES_PER_SEND {
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

    pub(super) async fn finish(mut self) -> Result<Totals, JobError> {
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
