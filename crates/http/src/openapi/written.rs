//! The OpenAPI document as it is sent. It needs no key, so nothing is done for each request: the document is compressed once.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::revision::Digest;

/// The document as JSON, and compressed with gzip.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) plain: Coded<String>,
    /// None if it could not be compressed.
    pub(crate) gzip: Option<Coded<Vec<u8>>>,
}

/// The bytes in one coding, with their entity tag: a strong tag stands for one sequence of bytes (RFC 9110, section 8.8.3.3).
#[derive(Debug)]
pub(crate) struct Coded<T> {
    pub(crate) bytes: T,
    pub(crate) tag: String,
}

impl Written {
    pub(crate) fn of(text: String) -> Self {
        let gzip = compressed(text.as_bytes()).ok();
        Self { gzip: gzip.map(Coded::of), plain: Coded::of(text) }
    }
}

impl<T: AsRef<[u8]>> Coded<T> {
    fn of(bytes: T) -> Self {
        let tag = format!("\"{}\"", Digest::of([bytes.as_ref()]));
        Self { bytes, tag }
    }
}

fn compressed(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(text)?;
    encoder.finish()
}
