//! A moment as events write it, and the text form of all times.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// A moment in whole microseconds, in UTC. Its wire form is that of [`timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(OffsetDateTime);

impl Moment {
    /// Reads RFC 3339. `None` if the text is something else, or a moment that has no year of four digits in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
        (moment.year() >= 0).then(|| Self::of_utc(moment))
    }

    /// The moment that is later by `duration`. If that has no year of four digits, it is the last moment that has one.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let later = time::Duration::try_from(duration).ok().and_then(|duration| self.0.checked_add(duration));
        Self::of_utc(later.unwrap_or(PrimitiveDateTime::MAX.assume_utc()))
    }

    /// How long it is from an earlier moment to this one; `None` if the other one is later.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        Duration::try_from(self.0 - earlier.0).ok()
    }

    /// The moment without the part of a microsecond.
    fn of_utc(moment: OffsetDateTime) -> Self {
        // The number of whole microseconds is below the limit, so the replacement cannot fail.
        Self(moment.replace_microsecond(moment.microsecond()).unwrap_or(moment))
    }
}

/// The beginning of 1970.
impl Default for Moment {
    fn default() -> Self {
        Self(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<OffsetDateTime> for Moment {
    /// A moment that has no year of four digits in UTC becomes the last one that can be written.
    fn from(moment: OffsetDateTime) -> Self {
        let utc = moment.checked_to_offset(UtcOffset::UTC);
        Self::of_utc(utc.unwrap_or(PrimitiveDateTime::MAX.assume_utc()))
    }
}

impl From<Moment> for OffsetDateTime {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timestamp(self.0))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(InText)
    }
}

/// Reads a moment from text.
struct InText;

impl Visitor<'_> for InText {
    type Value = Moment;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a date and time in RFC 3339")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
        Moment::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// RFC 3339 in UTC with six fractional digits. Every time in answers and in hashed envelopes has this form.
pub fn timestamp(moment: OffsetDateTime) -> String {
    let mut text = Vec::with_capacity("2026-01-02T03:04:05.678901Z".len());
    write_timestamp(moment, &mut text);
    // The bytes are ASCII, so the conversion cannot fail.
    String::from_utf8(text).unwrap_or_default()
}

/// Appends to `text` what [`timestamp`] returns. It is written digit by digit, because that is faster than formatting, and an
/// export writes one time for each event.
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
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::{Moment, timestamp};

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

    #[test]
    fn a_moment_in_json_has_the_same_form_and_no_more_than_microseconds() {
        let written =
            serde_json::to_value(Moment::from(datetime!(2026-03-01 00:30:00.5000009 +01:00))).unwrap();
        assert_eq!(written, "2026-02-28T23:30:00.500000Z");
        for text in
            ["2026-02-28T23:30:00.500000Z", "2026-02-28T23:30:00.5Z", "2026-03-01T00:30:00.5000009+01:00"]
        {
            let read: Moment = serde_json::from_value(text.into()).unwrap();
            assert_eq!(OffsetDateTime::from(read), datetime!(2026-02-28 23:30:00.5 UTC));
        }
        for text in ["2026-02-28", "0000-01-01T00:00:00+00:01"] {
            assert!(serde_json::from_value::<Moment>(text.into()).is_err(), "{text}");
        }
    }
}
