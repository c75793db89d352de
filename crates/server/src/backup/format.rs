//! The lines of a backup. Between the line of a section and the line that ends it are the rows, in blocks.
//!
//! A line is one JSON value in exactly the spelling that is written here: a line that was changed, in whatever way, is another
//! one.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// How the file begins, whatever its version is.
pub(super) const START: &[u8] = br#"{"backup":{"format":"#;

/// A block is written when it has this many bytes, or more. It has whole rows, and no row begins behind so many bytes.
pub(super) const BLOCK_BYTES: usize = 1024 * 1024;

/// The longest block: less than [`BLOCK_BYTES`], and one more row. Postgres copies no row of 1 GiB or more. The largest rows are stored
/// answers that list all viewers of an identity: 200 MiB for a million.
pub(super) const MAX_BLOCK_BYTES: u32 = 1025 * 1024 * 1024;

/// The types of columns that a row can have. Their bytes never differ between versions of Postgres.
pub const TYPES: [&str; 10] = [
    "bigint",
    "boolean",
    "bytea",
    "integer",
    "jsonb",
    "smallint",
    "text",
    "text[]",
    "timestamp with time zone",
    "uuid",
];

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Backup(BackupHead),
    Section(Section),
    SectionEnd(SectionEnd),
    BackupEnd(End),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupHead {
    /// The version of the format.
    pub format: u32,
    /// The version of identityd that wrote it.
    pub software: String,
    /// When the snapshot was taken, by the clock of the database.
    pub taken_at: String,
    /// The migrations that had been applied.
    pub migrations: Vec<i64>,
    /// How many organizations have events.
    pub organizations: u64,
    /// How many events there are: the position of the last one.
    pub events: u64,
    /// How many rows each section has, by table.
    pub rows: BTreeMap<String, u64>,
}

/// The line before the rows of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The table.
    pub table: String,
    /// Its columns in the order of the fields of a row, each with its type.
    pub columns: Vec<(String, String)>,
}

/// The line behind the rows of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SectionEnd {
    /// How many rows there were.
    pub rows: u64,
    /// How many bytes lie between the two lines.
    pub bytes: u64,
    /// SHA-256 over these bytes, in hexadecimal digits.
    pub sha256: String,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// How many sections there were.
    pub sections: u64,
    /// SHA-256 over all lines before this one, each with its line feed, in hexadecimal digits. The lines have the hashes of all
    /// rows, so this value stands for the whole file.
    pub sha256: String,
}

impl BackupHead {
    /// How many rows all sections have together. The numbers may be those of a crafted file.
    pub(super) fn all_rows(&self) -> u64 {
        self.rows.values().copied().fold(0, u64::saturating_add)
    }
}

impl Line {
    /// The bytes of the line, with the line feed.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of a line, with the line feed.
    pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let line: Self = serde_json::from_slice(bytes).context("a line of the backup cannot be read")?;
        ensure!(line.to_bytes()? == bytes, "a line of the backup is not spelled as identityd writes it");
        Ok(line)
    }
}

impl Section {
    /// The columns as SQL.
    pub(super) fn columns_as_sql(&self) -> String {
        self.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }
}
