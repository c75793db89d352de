//! An event with its place in the log, and the text form of its time.

use identity_domain::Event;
use time::{OffsetDateTime, UtcOffset};

use crate::event::metadata::Metadata;

/// An event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The position in the log: 1, 2, 3 … in commit order, without gaps. Clients do not see it.
    pub position: i64,
    /// The organization whose history it belongs to.
    pub organization_id: String,
    /// The position in the history of the organization: 1, 2, 3 … without gaps.
    pub organization_sequence: i64,
    /// The aggregate that it changed.
    pub aggregate_id: String,
    /// The position among the events of the aggregate, without gaps: the aggregate's version after the event.
    pub sequence: i64,
    /// The event itself.
    pub event: Event,
    /// The actor, the request and the software.
    pub metadata: Metadata,
    /// When it was recorded, in whole microseconds. Ascends with the position.
    pub recorded_at: OffsetDateTime,
}

/// RFC 3339 in UTC with six fractional digits. Every time in answers and in hashed envelopes has this form.
pub fn timestamp(moment: OffsetDateTime) -> String {
    let mut text = Vec::with_capacity("2026-01-02T03:04:05.678901Z".len());
    write_timestamp(moment, &mut text);
    // The bytes are ASCII, so the conversion cannot fail.
    String::from_utf8(text).unwrap_or_default()
}

/// Appends the same form to `text`, digit by digit, since this is faster and an export writes one time for each event.
pub fn write_timestamp(moment: OffsetDateTime, text: &mut Vec<u8>) {
    let moment = moment.to_offset(UtcOffset::UTC);
    // The clock of Postgres gives no year with more than four digits.
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

/// Appends the decimal digits of `number`, beginning with the digit at `place` (1000, 100, 10 or 1).
fn digits(number: u32, mut place: u32, text: &mut Vec<u8>) {
    while place > 0 {
        // The remainder is below 10, so the conversion cannot fail.
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
