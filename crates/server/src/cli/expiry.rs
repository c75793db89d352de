//! Flags that say when a key expires, and durations in flags.

use std::time::Duration;

use clap::Args;
use identity_domain::Moment;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub(super) struct ExpiryFlags {
    /// After which time it expires, such as `90d`, `12h` or `30m`
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,

    /// When it expires, in RFC 3339, such as `2027-01-31T00:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires_at: Option<Moment>,
}

impl ExpiryFlags {
    /// The moment; none if it does not expire.
    #[expect(
        clippy::disallowed_methods,
        reason = "a time from now on is counted by the clock of whoever types it"
    )]
    pub(super) fn moment(&self) -> Option<Moment> {
        let later = |duration| Moment::from(OffsetDateTime::now_utc()).plus(duration);
        self.expires_at.or(self.expires_in.map(later))
    }
}

/// Reads a whole number of seconds, minutes, hours or days: `90s`, `30m`, `12h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        _ => None,
    };
    let read = || {
        let unit = seconds(text.chars().last()?)?;
        let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
        number.checked_mul(unit).map(Duration::from_secs)
    };
    read().ok_or_else(|| "give a whole number and its unit: s, m, h or d, such as 90d".to_owned())
}

fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| "give a time in RFC 3339, such as 2027-01-31T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn a_time_is_a_whole_number_and_its_unit() {
        let read = ["0s", "90s", "30m", "12h", "7d"].map(|text| duration(text).unwrap());
        assert_eq!(read, [0, 90, 1_800, 43_200, 604_800].map(Duration::from_secs));
        for text in [
            "",
            "d",
            "7",
            "7 d",
            "-7d",
            "1.5h",
            "7w",
            "7\u{fc}",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
