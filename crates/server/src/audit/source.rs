//! An export as a file: its trailer first, then its lines in batches.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::form::TABLE_TRAILER_START;
use super::line::{TRAILER_START, Trailer, TrailerLine};
use super::verify::Fault;

/// How much is hashed at a time: enough for all cores, little beside what the machine has.
const BATCH: u64 = 8 * 1024 * 1024;

/// The longest trailer that is looked for.
const LONGEST_TRAILER: u64 = 1024 * 1024;

/// The lines before the trailer.
pub(super) struct Source {
    lines: std::io::Take<BufReader<File>>,
}

impl Source {
    /// Opens an export that has its trailer; one that was cut off has none.
    pub(super) fn open(path: &Path) -> Result<(Self, Trailer), Fault> {
        let unreadable =
            |error: std::io::Error| Fault::file(format!("cannot read {}: {error}", path.display()));
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let end = tail(&mut file, length).map_err(unreadable)?;
        let last_line = end.strip_suffix(b"\n").unwrap_or(&end).rsplit(|byte| *byte == b'\n').next();
        let last_line = last_line.unwrap_or_default();
        if last_line.starts_with(TABLE_TRAILER_START) {
            return Err(Fault::file("a table proves nothing; export the history as ndjson"));
        }
        let parsed = serde_json::from_slice::<TrailerLine>(last_line);
        let (true, Ok(TrailerLine { trailer })) = (last_line.starts_with(TRAILER_START), parsed) else {
            return Err(unended(file).unwrap_or_else(unreadable));
        };
        let ending = u64::from(end.ends_with(b"\n"));
        let lines_end = length - ending - last_line.len() as u64;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok((Self { lines: BufReader::new(file).take(lines_end) }, trailer))
    }

    /// The next whole lines; none at the end.
    pub(super) fn next_batch(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let unreadable = |error: std::io::Error| Fault::file(format!("cannot read on: {error}"));
        let mut batch = Vec::new();
        self.lines.by_ref().take(BATCH).read_to_end(&mut batch).map_err(unreadable)?;
        self.lines.read_until(b'\n', &mut batch).map_err(unreadable)?;
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// The lines of a batch.
pub(super) fn lines_of(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    batch.strip_suffix(b"\n").unwrap_or(batch).split(|byte| *byte == b'\n')
}

fn tail(file: &mut File, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_TRAILER)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(end)
}

/// The fault of a file that does not end with a trailer: the line where it ends, or where it should have.
fn unended(mut file: File) -> std::io::Result<Fault> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut line, mut number) = (Vec::new(), 1);
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        if line.starts_with(TRAILER_START) {
            let is_last = reader.fill_buf()?.is_empty();
            let what =
                if is_last { "this trailer cannot be read" } else { "this trailer is not the last line" };
            return Ok(Fault { line: Some(number), sequence: None, what: what.to_owned() });
        }
        number += 1;
        line.clear();
    }
    let what = "the file ends here without a trailer: it was cut off".to_owned();
    Ok(Fault { line: Some(number), sequence: None, what })
}
