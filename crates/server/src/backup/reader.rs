//! Reads a backup, and checks on the way that every byte is the one that was written. At most one block is kept in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use identity_terminal::input;
use sha2::{Digest as _, Sha256};

use super::format::{
    BLOCK_BYTES, BackupHead, End, FORMAT, Line, MAX_BLOCK_BYTES, START, Section, SectionEnd,
};
use super::writer::hex;

/// The longest line. The head of a backup grows with the number of migrations, no line grows with the number of rows.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// How much is read from the file at a time, but for blocks: these are read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a backup says when it is shorter than it was.
const CUT_OFF: &str = "the backup ends too early: it was cut off";

/// A backup that is being read.
pub(super) struct Reader {
    input: BufReader<File>,
    lines: Sha256,
    /// The sections that were read, with their numbers of rows.
    rows: BTreeMap<String, u64>,
    head: BackupHead,
}

/// What comes next in a backup.
pub(super) enum Next {
    /// The rows of a table.
    Section(Section),
    /// Nothing: the backup is whole.
    End(End),
}

/// The rows of a section that are being read. They must be read to their end.
pub(super) struct Rows<'a> {
    reader: &'a mut Reader,
    hash: Sha256,
    bytes: u64,
}

impl Reader {
    /// Opens a backup and reads its head.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read {}", path.display());
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input::open(path).with_context(context)?);
        let start = input.fill_buf().with_context(context)?;
        ensure!(start.starts_with(START), "{} is not a backup of identityd", path.display());
        let mut lines = Sha256::new();
        let bytes = read_line(&mut input)?;
        check_format(&bytes)?;
        let Line::Backup(head) = Line::read(&bytes)? else { bail!("the backup has no head") };
        lines.update(&bytes);
        Ok(Self { input, lines, rows: BTreeMap::new(), head })
    }

    /// What its head says.
    pub(super) fn head(&self) -> &BackupHead {
        &self.head
    }

    /// The next section, or the end of the backup.
    pub(super) fn advance(&mut self) -> anyhow::Result<Next> {
        let sha256 = hex(self.lines.clone());
        match self.line()? {
            Line::Section(section) => Ok(Next::Section(section)),
            Line::BackupEnd(end) => {
                ensure!(end.sha256 == sha256, "the lines of the backup are not those that were written");
                ensure!(
                    end.sections == u64::try_from(self.rows.len())? && self.rows == self.head.rows,
                    "the sections or row counts of the backup differ from its head"
                );
                ensure!(self.input.fill_buf()?.is_empty(), "the file goes on after the end of the backup");
                Ok(Next::End(end))
            }
            Line::Backup(_) | Line::SectionEnd(_) => bail!("the lines of the backup are out of order"),
        }
    }

    /// The rows of the section that was just begun.
    pub(super) fn rows(&mut self) -> Rows<'_> {
        Rows { reader: self, hash: Sha256::new(), bytes: 0 }
    }

    fn line(&mut self) -> anyhow::Result<Line> {
        let bytes = read_line(&mut self.input)?;
        self.lines.update(&bytes);
        Line::read(&bytes)
    }
}

impl Rows<'_> {
    /// The next block, which is not empty; `None` at the end of the rows.
    pub(super) fn next_block(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        self.reader.input.read_exact(&mut length).context(CUT_OFF)?;
        self.hash.update(length);
        let length = u32::from_be_bytes(length);
        ensure!(length <= MAX_BLOCK_BYTES, "a block of the backup is longer than any that is written");
        let mut block = Vec::with_capacity(usize::try_from(length)?.min(2 * BLOCK_BYTES));
        self.reader.input.by_ref().take(u64::from(length)).read_to_end(&mut block)?;
        ensure!(block.len() as u64 == u64::from(length), CUT_OFF);
        self.hash.update(&block);
        self.bytes += u64::from(length) + 4;
        Ok((length > 0).then_some(block))
    }

    /// Reads the line behind the rows, and compares it with what was read. `rows` is how many rows the blocks had.
    pub(super) fn finish(self, section: &Section, rows: u64) -> anyhow::Result<()> {
        let Self { reader, hash, bytes } = self;
        let found = SectionEnd { rows, bytes, sha256: hex(hash) };
        let table = &section.table;
        let is_as_written = matches!(reader.line()?, Line::SectionEnd(end) if end == found);
        ensure!(is_as_written, "the rows of {table} in the backup are not those that were written");
        ensure!(reader.rows.insert(table.clone(), rows).is_none(), "the backup has {table} twice");
        Ok(())
    }
}

fn read_line(input: &mut BufReader<File>) -> anyhow::Result<Vec<u8>> {
    let mut line = vec![];
    input.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line).context("cannot read the backup")?;
    ensure!(line.len() as u64 <= MAX_LINE_BYTES, "a line of the backup is longer than any that is written");
    ensure!(line.ends_with(b"\n"), CUT_OFF);
    Ok(line)
}

/// Says that a backup is of a newer format before anything else of it is looked at.
fn check_format(line: &[u8]) -> anyhow::Result<()> {
    let digits = line.get(START.len()..).unwrap_or_default();
    let digits: String =
        digits.iter().map(|byte| char::from(*byte)).take_while(char::is_ascii_digit).collect();
    let format: u32 = digits.parse().context("the backup has no format")?;
    ensure!(format == FORMAT, "the backup is of format {format}, this identityd reads format {FORMAT}");
    Ok(())
}
