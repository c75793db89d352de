//! Postgres's binary COPY format, as far as we read and write it: the fastest way of many rows in and out.

use sqlx::types::Uuid;
use time::{Duration, OffsetDateTime};

/// What every binary copy begins with: signature, flags, length of a header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The field count that ends a binary copy.
const END: i16 = -1;

/// Microseconds from the Unix epoch to Postgres's, which is the first of January 2000.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The stream is not what Postgres sends.
#[derive(Debug, thiserror::Error)]
#[error("malformed binary copy: {0}")]
pub struct CopyError(pub &'static str);

/// Rows being written.
#[derive(Debug, Default)]
pub struct CopyWriter {
    buffer: Vec<u8>,
    starts: Vec<usize>,
    begun: bool,
}

impl CopyWriter {
    /// Begins a row of so many fields.
    pub fn row(&mut self, fields: i16) {
        if !self.begun {
            self.buffer.extend_from_slice(HEADER);
            self.begun = true;
        }
        self.starts.push(self.buffer.len());
        self.buffer.extend_from_slice(&fields.to_be_bytes());
    }

    /// The rows that wait to be sent, as they go over the wire.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.buffer.len()]);
        self.starts.iter().zip(ends).map(|(&start, end)| self.buffer.get(start..end).unwrap_or_default())
    }

    /// A field's bytes, whatever they mean.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // Postgres holds no field of 2 GiB either.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    /// A field of nothing.
    pub fn null(&mut self) {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A text, or nothing.
    pub fn optional_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// A UUID.
    pub fn uuid(&mut self, uuid: Uuid) {
        self.bytes(uuid.as_bytes());
    }

    /// A UUID, or nothing.
    pub fn optional_uuid(&mut self, uuid: Option<Uuid>) {
        match uuid {
            Some(uuid) => self.uuid(uuid),
            None => self.null(),
        }
    }

    /// A bigint.
    pub fn bigint(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A timestamptz, or nothing.
    pub fn optional_timestamp(&mut self, moment: Option<OffsetDateTime>) {
        match moment {
            Some(moment) => self.timestamp(moment),
            None => self.null(),
        }
    }

    /// A timestamptz.
    pub fn timestamp(&mut self, moment: OffsetDateTime) {
        let microseconds = moment.unix_timestamp() * 1_000_000 + i64::from(moment.microsecond());
        self.bigint(microseconds - POSTGRES_EPOCH);
    }

    /// How many bytes wait to be sent.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// What waits to be sent.
    pub fn take(&mut self) -> Vec<u8> {
        self.starts.clear();
        std::mem::take(&mut self.buffer)
    }

    /// Ends the copy, and gives what is left to be sent.
    pub fn end(mut self) -> Vec<u8> {
        if !self.begun {
            self.buffer.extend_from_slice(HEADER);
        }
        self.buffer.extend_from_slice(&END.to_be_bytes());
        self.buffer
    }
}

/// Rows being read. Bytes come in as they arrive; a row is given out once all of it is there.
#[derive(Debug, Default)]
pub struct CopyReader {
    buffer: Vec<u8>,
    at: usize,
    begun: bool,
    ended: bool,
}

impl CopyReader {
    /// Takes bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next row, if all of it is there.
    pub fn next_row(&mut self) -> Result<Option<CopyRow<'_>>, CopyError> {
        if !self.begin()? || self.ended {
            return Ok(None);
        }
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let Some((length, fields)) = row_length(rest)? else {
            return Ok(None);
        };
        if fields == END {
            self.ended = true;
            return Ok(None);
        }
        let row = rest.get(..length).unwrap_or_default();
        self.at += length;
        Ok(Some(CopyRow::written(row)))
    }

    fn begin(&mut self) -> Result<bool, CopyError> {
        if self.begun {
            return Ok(true);
        }
        let Some(header) = self.buffer.get(..HEADER.len()) else {
            return Ok(false);
        };
        if header != HEADER {
            return Err(CopyError("unknown header"));
        }
        self.at = HEADER.len();
        self.begun = true;
        Ok(true)
    }

    /// Holds that the copy came to its end: a stream that merely stops is not the whole of it.
    pub fn finish(&self) -> Result<(), CopyError> {
        if self.ended { Ok(()) } else { Err(CopyError("it ends in the middle")) }
    }
}

/// A moment in Postgres's binary form.
pub(crate) fn moment(bytes: &[u8]) -> Result<OffsetDateTime, CopyError> {
    let out_of_range = CopyError("moment out of range");
    let microseconds = bytes.try_into().map_err(|_| CopyError("number of another size"))?;
    let Some(microseconds) = i64::from_be_bytes(microseconds).checked_add(POSTGRES_EPOCH) else {
        return Err(out_of_range);
    };
    let second = OffsetDateTime::from_unix_timestamp(microseconds.div_euclid(1_000_000));
    let rest = Duration::microseconds(microseconds.rem_euclid(1_000_000));
    second.ok().and_then(|second| second.checked_add(rest)).ok_or(out_of_range)
}

/// Length in bytes and field count of the row at the beginning of `bytes`, if all of it is there.
fn row_length(bytes: &[u8]) -> Result<Option<(usize, i16)>, CopyError> {
    let Some((count, _)) = bytes.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let fields = i16::from_be_bytes(*count);
    let mut length = 2;
    for _ in 0..fields.max(0) {
        let Some((size, _)) = bytes.get(length..).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return Ok(None);
        };
        let size = i32::from_be_bytes(*size).max(0);
        length += 4 + usize::try_from(size).map_err(|_| CopyError("field of negative size"))?;
    }
    Ok((bytes.len() >= length).then_some((length, fields)))
}

/// A row, given out field by field.
#[derive(Debug)]
pub struct CopyRow<'a> {
    row: &'a [u8],
    rest: &'a [u8],
}

impl<'a> CopyRow<'a> {
    /// A row as a [`CopyWriter`] wrote it.
    pub fn written(row: &'a [u8]) -> Self {
        Self { row, rest: row.get(2..).unwrap_or_default() }
    }

    /// The row as it came over the wire.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.row
    }

    /// The next field's bytes; `None` for null.
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, CopyError> {
        let (size, rest) = self.rest.split_first_chunk::<4>().ok_or(CopyError("too few fields"))?;
        let Ok(size) = usize::try_from(i32::from_be_bytes(*size)) else {
            self.rest = rest;
            return Ok(None);
        };
        let (bytes, rest) = rest.split_at_checked(size).ok_or(CopyError("field cut short"))?;
        self.rest = rest;
        Ok(Some(bytes))
    }

    /// A text that is there.
    pub fn text(&mut self) -> Result<&'a str, CopyError> {
        let bytes = self.bytes()?.ok_or(CopyError("null where a text is"))?;
        std::str::from_utf8(bytes).map_err(|_| CopyError("text that is not UTF-8"))
    }

    /// A bigint that is there.
    pub fn bigint(&mut self) -> Result<i64, CopyError> {
        let bytes = self.bytes()?.ok_or(CopyError("null where a number is"))?;
        Ok(i64::from_be_bytes(bytes.try_into().map_err(|_| CopyError("number of another size"))?))
    }

    /// A timestamptz that is there.
    pub fn timestamp(&mut self) -> Result<OffsetDateTime, CopyError> {
        moment(self.bytes()?.ok_or(CopyError("null where a moment is"))?)
    }

    /// A jsonb that is there, as JSON text.
    pub fn jsonb(&mut self) -> Result<&'a [u8], CopyError> {
        match self.bytes()? {
            Some([1, json @ ..]) => Ok(json),
            Some(_) => Err(CopyError("jsonb of another version")),
            None => Err(CopyError("null where a jsonb is")),
        }
    }
}

#[cfg(test)]
mod tests;
