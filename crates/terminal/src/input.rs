//! Files that people write for a command. Too large a file is an error, before it is in memory. So is what is no regular file: a
//! device has no end, and opening or reading a pipe may wait for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a regular file to read it.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// The content of a file that has at most this many bytes.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > max_bytes {
        return Err(too_large(format!("the file is larger than {max_bytes} bytes")));
    }
    Ok(content)
}

/// The same for a file of text.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, max_bytes)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// The next line, without its end; `None` at the end of the input.
pub fn read_line(input: &mut impl BufRead, max_bytes: u64) -> io::Result<Option<String>> {
    let mut line = String::new();
    // The limit does not count the end of the line, which may be two bytes.
    let read = input.by_ref().take(max_bytes.saturating_add(2)).read_line(&mut line)?;
    if read == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.len() as u64 > max_bytes {
        return Err(too_large(format!("the line is longer than {max_bytes} bytes")));
    }
    Ok(Some(text.to_owned()))
}

fn too_large(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
