//! Writes a backup, row by row. At most one block is kept in memory.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::format::{BLOCK_BYTES, BackupHead, End, Line, MAX_BLOCK_BYTES, Section, SectionEnd};

/// A backup that is being written.
pub(super) struct Writer<W> {
    output: W,
    lines: Sha256,
    sections: u64,
}

/// The rows of a section that are being written.
pub(super) struct Rows<'a, W> {
    writer: &'a mut Writer<W>,
    block: Vec<u8>,
    hash: Sha256,
    count: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(output: W, head: BackupHead) -> io::Result<Self> {
        let mut writer = Self { output, lines: Sha256::new(), sections: 0 };
        writer.line(&Line::Backup(head))?;
        Ok(writer)
    }

    pub(super) fn section(&mut self, section: Section) -> io::Result<Rows<'_, W>> {
        self.line(&Line::Section(section))?;
        self.sections += 1;
        Ok(Rows { writer: self, block: vec![], hash: Sha256::new(), count: 0, bytes: 0 })
    }

    /// Writes the last line. Returns what it says.
    pub(super) fn finish(mut self) -> io::Result<End> {
        let end = End { sections: self.sections, sha256: hex(self.lines.clone()) };
        self.line(&Line::BackupEnd(end.clone()))?;
        self.output.flush()?;
        Ok(end)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let bytes = line.to_bytes()?;
        self.lines.update(&bytes);
        self.output.write_all(&bytes)
    }
}

impl<W: Write> Rows<'_, W> {
    /// Adds a row in its wire form.
    pub(super) fn add(&mut self, row: &[u8]) -> io::Result<()> {
        self.block.extend_from_slice(row);
        self.count += 1;
        if self.block.len() >= BLOCK_BYTES { self.write_block() } else { Ok(()) }
    }

    /// Writes the last rows, an empty block, and the line that ends the section.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        self.write_block()?;
        let Self { writer, hash, count: rows, bytes, .. } = self;
        writer.line(&Line::SectionEnd(SectionEnd { rows, bytes, sha256: hex(hash) }))
    }

    /// A block is its length and its rows.
    fn write_block(&mut self) -> io::Result<()> {
        let length = u32::try_from(self.block.len()).ok().filter(|length| *length <= MAX_BLOCK_BYTES);
        let length = length.ok_or_else(|| io::Error::other("a row is too large for a backup"))?;
        for bytes in [&length.to_be_bytes(), self.block.as_slice()] {
            self.hash.update(bytes);
            self.writer.output.write_all(bytes)?;
        }
        self.bytes += u64::from(length) + 4;
        self.block.clear();
        Ok(())
    }
}

/// The hash so far, in hexadecimal digits.
pub(super) fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}
