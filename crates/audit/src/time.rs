//! The times that checkpoints say, in words, and the time of this machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// How far the time of a checkpoint may be ahead of this machine's clock before that is said, in seconds.
const MAX_AHEAD: u64 = 60;

/// When a checkpoint was signed, in a sentence.
pub(crate) fn sentence(signed_at: Option<u64>) -> String {
    let Some(time) = signed_at else { return "the checkpoint does not say when it was signed".to_owned() };
    let said = format!("the checkpoint was signed at {}", utc(time));
    if is_in_future(time) { said + ", which the clock of this machine has not reached" } else { said }
}

/// Whether the clock of this machine has not come near this time yet.
pub(crate) fn is_in_future(time: u64) -> bool {
    now().saturating_add(MAX_AHEAD) < time
}

#[expect(
    clippy::disallowed_methods,
    reason = "an auditor judges the time of a checkpoint by a clock of her own"
)]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Seconds since the beginning of 1970, written as events write a time, in whole seconds.
pub fn utc(seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day, from the days since the beginning of 1970. The years are counted from March on, so that a leap day is the
/// last day of its year (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_255_999, "1972-02-29T23:59:59Z"),
            (951_825_600, "2000-02-29T12:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
