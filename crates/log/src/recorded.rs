//! An event as it stands in the log.

use identity_domain::Event;
use time::{OffsetDateTime, UtcOffset};

use crate::metadata::Metadata;

/// An event with its place in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Dense over the whole log: 1, 2, 3 … in commit order. Not shown to tenants.
    pub position: i64,
    /// Whose history it belongs to.
    pub organization_id: String,
    /// Dense within the organization.
    pub organization_sequence: i64,
    /// What it happened to.
    pub aggregate_id: String,
    /// Dense within the aggregate; the aggregate's version after it.
    pub sequence: i64,
    /// What happened.
    pub event: Event,
    /// Who did it.
    pub metadata: Metadata,
    /// When, to the microsecond; ascending with the position.
    pub recorded_at: OffsetDateTime,
}

/// RFC 3339 in UTC with six digits: how every moment is written, in answers and under hashes.
pub fn timestamp(moment: OffsetDateTime) -> String {
    let mut text = Vec::with_capacity("2026-01-02T03:04:05.678901Z".len());
    write_timestamp(moment, &mut text);
    // Digits and a few signs are always UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

/// The same behind what `text` has, digit by digit: exports write a great many of them.
pub fn write_timestamp(moment: OffsetDateTime, text: &mut Vec<u8>) {
    let moment = moment.to_offset(UtcOffset::UTC);
    // Years that four digits cannot hold are none that Postgres's clock gives.
    digits(moment.year().unsigned_abs(), 1000, text);
    text.push(b'-');
    digits(u8::from(moment.month()).into(), 10, text);
    text.push(b'-');
    digits(moment.day().into(), 10, text);
    text.push(b'T');
    digits(moment.hour().into(), 10, text);
    text.push(b':');
    digits(moment.minute().into(), 10, text);
    text.push(b':');
    digits(moment.second().into(), 10, text);
    text.push(b'.');
    digits(moment.microsecond(), 100_000, text);
    text.push(b'Z');
}

/// The digits of `number` from the place worth `place` down to the ones.
fn digits(number: u32, mut place: u32, text: &mut Vec<u8>) {
    while place > 0 {
        // A digit is less than ten.
        text.push(b'0' + u8::try_from(number / place % 10).unwrap_or_default());
        place /= 10;
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::timestamp;

    #[test]
    fn a_moment_is_written_in_utc_with_six_digits() {
        let written = [
            (datetime!(2026-01-02 03:04:05.678901 UTC), "2026-01-02T03:04:05.678901Z"),
            (datetime!(1999-12-31 23:59:59.000001 UTC), "1999-12-31T23:59:59.000001Z"),
            (datetime!(2026-03-01 00:30:00 +01:00), "2026-02-28T23:30:00.000000Z"),
            (datetime!(2026-01-02 03:04:05.678901999 UTC), "2026-01-02T03:04:05.678901Z"),
        ];
        for (moment, text) in written {
            assert_eq!(timestamp(moment), text);
        }
    }
}
