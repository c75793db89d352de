//! Postgres's binary COPY format, as far as the service needs it: the fastest way to read and write many rows.

use sqlx::types::Uuid;
use time::{Duration, OffsetDateTime};

/// The header of a binary copy: signature, flags, length of the header extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The field count that ends a binary copy.
pub const END: i16 = -1;

/// Microseconds from the Unix epoch to the epoch of Postgres, which is 2000-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A binary copy is malformed.
#[derive(Debug, thiserror::Error)]
#[error("malformed binary copy: {0}")]
pub struct CopyError(pub &'static str);

/// Writes rows.
#[derive(Debug, Default)]
pub struct CopyWriter {
    buffer: Vec<u8>,
    starts: Vec<usize>,
    begun: bool,
}

impl CopyWriter {
    /// Begins a row with this number of fields.
    pub fn row(&mut self, fields: usize) {
        if !self.begun {
            self.buffer.extend_from_slice(HEADER);
            self.begun = true;
        }
        self.starts.push(self.buffer.len());
        // Postgres has no table with more than 1,600 columns.
        self.buffer.extend_from_slice(&i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes());
    }

    /// The rows that are not taken yet, in their wire form.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.buffer.len()]);
        self.starts.iter().zip(ends).map(|(&start, end)| self.buffer.get(start..end).unwrap_or_default())
    }

    /// A field of raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // Postgres has no field of 2 GiB.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    /// A null field.
    pub fn null(&mut self) {
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A UUID.
    pub fn uuid(&mut self, uuid: Uuid) {
        self.bytes(uuid.as_bytes());
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    /// A bigint.
    pub fn bigint(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    /// A timestamptz.
    pub fn timestamp(&mut self, moment: OffsetDateTime) {
        let microseconds = moment.unix_timestamp() * 1_000_000 + i64::from(moment.microsecond());
        self.bigint(microseconds - POSTGRES_EPOCH);
    }

    /// How many bytes are not taken yet.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there are no bytes to take.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes the bytes that are to be sent.
    pub fn take(&mut self) -> Vec<u8> {
        self.starts.clear();
        std::mem::take(&mut self.buffer)
    }

    /// Ends the copy. Returns the last bytes that are to be sent.
    pub fn end(mut self) -> Vec<u8> {
        if !self.begun {
            self.buffer.extend_from_slice(HEADER);
        }
        self.buffer.extend_from_slice(&END.to_be_bytes());
        self.buffer
    }
}

/// Reads rows from chunks of bytes, which need not end where a row ends.
#[derive(Debug, Default)]
pub struct CopyReader {
    buffer: Vec<u8>,
    at: usize,
    begun: bool,
    ended: bool,
}

impl CopyReader {
    /// Adds a chunk of bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next row; `None` if it is not complete yet, or at the end.
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

    /// Fails unless the trailer of the copy was read. A stream can stop before its end.
    pub fn finish(&self) -> Result<(), CopyError> {
        if self.ended { Ok(()) } else { Err(CopyError("it ends in the middle")) }
    }
}

/// Decodes the binary form of a timestamptz between the years 1 and 9999, which is what can be shown.
pub fn moment(bytes: &[u8]) -> Result<OffsetDateTime, CopyError> {
    let out_of_range = CopyError("moment out of range");
    let microseconds = bytes.try_into().map_err(|_| CopyError("number of another size"))?;
    let Some(microseconds) = i64::from_be_bytes(microseconds).checked_add(POSTGRES_EPOCH) else {
        return Err(out_of_range);
    };
    let second = OffsetDateTime::from_unix_timestamp(microseconds.div_euclid(1_000_000));
    let rest = Duration::microseconds(microseconds.rem_euclid(1_000_000));
    let moment = second.ok().and_then(|second| second.checked_add(rest));
    moment.filter(|moment| (1..=9999).contains(&moment.year())).ok_or(out_of_range)
}

/// Takes the first row off bytes that are whole rows.
pub fn split_row(bytes: &[u8]) -> Result<(CopyRow<'_>, &[u8]), CopyError> {
    let (length, fields) = row_length(bytes)?.ok_or(CopyError("row cut short"))?;
    let (row, rest) = bytes.split_at_checked(length).ok_or(CopyError("row cut short"))?;
    if fields < 0 { Err(CopyError("row of negative size")) } else { Ok((CopyRow::written(row), rest)) }
}

/// Length in bytes and field count of the row at the beginning of `bytes`; `None` if the row is not complete.
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

/// Reads the fields of a row in order.
#[derive(Debug)]
pub struct CopyRow<'a> {
    row: &'a [u8],
    rest: &'a [u8],
}

impl<'a> CopyRow<'a> {
    /// A row in the wire form.
    pub fn written(row: &'a [u8]) -> Self {
        Self { row, rest: row.get(2..).unwrap_or_default() }
    }

    /// How many fields it has.
    pub fn fields(&self) -> usize {
        let count = self.row.split_first_chunk::<2>().map_or(0, |(count, _)| i16::from_be_bytes(*count));
        usize::try_from(count).unwrap_or(0)
    }

    /// The row in the wire form.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.row
    }

    /// The bytes of the next field; `None` if it is null.
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

    /// The next field, a text that is not null.
    pub fn text(&mut self) -> Result<&'a str, CopyError> {
        let bytes = self.bytes()?.ok_or(CopyError("null where a text is"))?;
        std::str::from_utf8(bytes).map_err(|_| CopyError("text that is not UTF-8"))
    }

    /// The next field, a bigint that is not null.
    pub fn bigint(&mut self) -> Result<i64, CopyError> {
        let bytes = self.bytes()?.ok_or(CopyError("null where a number is"))?;
        Ok(i64::from_be_bytes(bytes.try_into().map_err(|_| CopyError("number of another size"))?))
    }

    /// The next field, a timestamptz that is not null.
    pub fn timestamp(&mut self) -> Result<OffsetDateTime, CopyError> {
        moment(self.bytes()?.ok_or(CopyError("null where a moment is"))?)
    }

    /// The next field, a jsonb that is not null, as JSON text.
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
