//! An export as a file: its trailer first, then its lines in batches.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use identity_proof::trailer::{Trailer, TrailerLine};
use identity_terminal::input;

use crate::line::{TABLE_TRAILER_START, TRAILER_START};
use crate::report::Fault;

/// The size in bytes after which a batch takes no further line: enough for all cores, and little memory.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How many lines are hashed at a time, however short they are.
const MAX_BATCH_LINES: usize = 64 * 1024;

/// The longest line, in bytes. The largest event has all viewers of an identity: 32 MiB are 290,000 viewers.
const MAX_LINE_BYTES: u64 = 32 * 1024 * 1024;

/// The longest trailer, in bytes.
const MAX_TRAILER_BYTES: u64 = 1024 * 1024;

/// The lines before the trailer.
pub(crate) struct Source {
    lines: std::io::Take<BufReader<File>>,
    read_lines: u64,
}

impl Source {
    /// Opens an export that has its trailer; one that was cut off has none.
    pub(crate) fn open(path: &Path) -> Result<(Self, Trailer), Fault> {
        let unreadable =
            |error: std::io::Error| Fault::file(format!("cannot read {}: {error}", path.display()));
        let mut file = input::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let end = tail(&mut file, length).map_err(unreadable)?;
        let last_line = end.strip_suffix(b"\n").unwrap_or(&end).rsplit(|byte| *byte == b'\n').next();
        let last_line = last_line.unwrap_or_default();
        if last_line.starts_with(TABLE_TRAILER_START) {
            return Err(Fault::file("a table proves nothing; export the history as ndjson"));
        }
        let parsed = serde_json::from_slice::<TrailerLine>(last_line);
        let (true, Ok(TrailerLine { trailer })) = (last_line.starts_with(TRAILER_START), parsed) else {
            return Err(unended(file).unwrap_or_else(|fault| fault));
        };
        let ending = u64::from(end.ends_with(b"\n"));
        let lines_end = length - ending - last_line.len() as u64;
        file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        Ok((Self { lines: BufReader::new(file).take(lines_end), read_lines: 0 }, trailer))
    }

    /// The next whole lines; none at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let mut batch = Vec::new();
        for _ in 0..MAX_BATCH_LINES {
            let line = LineLimit(self.read_lines + 1).read(&mut self.lines, &mut batch)?;
            if line == 0 || batch.len() >= BATCH_BYTES {
                break;
            }
            self.read_lines += 1;
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// Reads the line of this number, which may be of limited length.
struct LineLimit(u64);

impl LineLimit {
    /// Appends the line to `text`. Returns its length, which is 0 at the end.
    fn read(&self, lines: &mut impl BufRead, text: &mut Vec<u8>) -> Result<usize, Fault> {
        let unreadable = |error: std::io::Error| Fault::file(format!("cannot read on: {error}"));
        let length = lines.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', text).map_err(unreadable)?;
        if length as u64 > MAX_LINE_BYTES {
            let what = format!("this line is longer than {} MiB, which no event is", MAX_LINE_BYTES >> 20);
            return Err(Fault { line: Some(self.0), sequence: None, what });
        }
        Ok(length)
    }
}

/// The lines of a batch.
pub(crate) fn lines_of(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    batch.strip_suffix(b"\n").unwrap_or(batch).split(|byte| *byte == b'\n')
}

fn tail(file: &mut File, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TRAILER_BYTES)))?;
    let mut end = Vec::new();
    file.take(MAX_TRAILER_BYTES).read_to_end(&mut end)?;
    Ok(end)
}

/// The fault of a file that does not end with a trailer: the line where it ends, or where it should have. A file whose first line
/// is not the beginning of an object is no export.
fn unended(mut file: File) -> Result<Fault, Fault> {
    let unreadable = |error: std::io::Error| Fault::file(format!("cannot read on: {error}"));
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut reader = BufReader::new(file);
    if reader.fill_buf().map_err(unreadable)?.first().is_some_and(|byte| *byte != b'{') {
        let what = "this is not JSON: the file is not an export".to_owned();
        return Ok(Fault { line: Some(1), sequence: None, what });
    }
    let (mut line, mut number) = (Vec::new(), 1);
    while LineLimit(number).read(&mut reader, &mut line)? > 0 && line.ends_with(b"\n") {
        if line.starts_with(TRAILER_START) {
            let is_last = reader.fill_buf().map_err(unreadable)?.is_empty();
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
