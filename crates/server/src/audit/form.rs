//! The forms of an export: lines of JSON, which can be verified, or a table for spreadsheets.

use std::io::Write;

use identity_audit::envelope::Envelope;
use identity_audit::line;
use identity_proof::Hash;
use identity_proof::trailer::{Trailer, TrailerLine};

/// The columns of a table.
const COLUMNS: [&str; 11] = [
    "organization_id",
    "organization_sequence",
    "aggregate_type",
    "aggregate_id",
    "sequence",
    "event_type",
    "event_version",
    "recorded_at",
    "payload",
    "metadata",
    "leaf_hash",
];

/// An export that is being written.
pub trait ExportWriter {
    /// Writes an event and the leaf hash that was signed for it.
    fn event(&mut self, envelope: &Envelope, signed: Option<&Hash>) -> anyhow::Result<()>;

    /// Writes the trailer, and flushes the output.
    fn trailer(&mut self, trailer: &Trailer) -> anyhow::Result<()>;
}

/// One JSON text a line.
#[derive(Debug)]
pub struct Lines<W>(pub W);

impl<W: Write> ExportWriter for Lines<W> {
    fn event(&mut self, envelope: &Envelope, signed: Option<&Hash>) -> anyhow::Result<()> {
        Ok(self.0.write_all(&line::write(envelope, signed)?)?)
    }

    fn trailer(&mut self, trailer: &Trailer) -> anyhow::Result<()> {
        let line = serde_json::to_string(&TrailerLine { trailer: trailer.clone() })?;
        writeln!(self.0, "{line}")?;
        Ok(self.0.flush()?)
    }
}

/// Comma-separated values with a header row.
#[derive(Debug)]
pub struct Table<W: Write>(csv::Writer<W>);

impl<W: Write> Table<W> {
    /// Writes the header row.
    pub fn begin(output: W) -> anyhow::Result<Self> {
        let mut table = csv::WriterBuilder::new().flexible(true).from_writer(output);
        table.write_record(COLUMNS)?;
        Ok(Self(table))
    }
}

impl<W: Write> ExportWriter for Table<W> {
    fn event(&mut self, envelope: &Envelope, signed: Option<&Hash>) -> anyhow::Result<()> {
        self.0.write_record([
            &envelope.organization_id,
            &envelope.organization_sequence.to_string(),
            &envelope.aggregate_type,
            &envelope.aggregate_id,
            &envelope.sequence.to_string(),
            &envelope.event_type,
            &envelope.event_version,
            &envelope.recorded_at,
            envelope.payload.as_str(),
            envelope.metadata.as_str(),
            &signed.map(Hash::to_string).unwrap_or_default(),
        ])?;
        Ok(())
    }

    /// A row with two columns: the word `trailer`, and the trailer as JSON.
    fn trailer(&mut self, trailer: &Trailer) -> anyhow::Result<()> {
        self.0.write_record(["trailer", &serde_json::to_string(trailer)?])?;
        Ok(self.0.flush()?)
    }
}
