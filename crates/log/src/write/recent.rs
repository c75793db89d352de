//! How often an identity was renamed within the last day, and how many phone numbers it got. Both are limited, since all
//! identities share the names and the numbers. They are counted from the events of the identity, like its state, so two
//! commands that arrive at the same time cannot both use the last one that is left.

use std::collections::VecDeque;

use identity_domain::Event;
use identity_domain::identity::Event as IdentityEvent;
use serde::{Deserialize, Serialize};
use time::error::ComponentRange;
use time::{Duration, OffsetDateTime};

use crate::event::recorded::Recorded;

const DAY: Duration = Duration::DAY;

/// The most moments that are remembered of each kind. No limit may be larger.
pub(crate) const MAX_REMEMBERED: u32 = 1000;

/// When an identity was last renamed, and when it last got phone numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecentUse {
    pub(super) renames: Moments,
    pub(super) numbers: Moments,
}

/// Moments of the day before the last of them, in order. They are stored as microseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<i128>", try_from = "Vec<i128>")]
pub(super) struct Moments(VecDeque<OffsetDateTime>);

impl From<Moments> for Vec<i128> {
    fn from(Moments(moments): Moments) -> Self {
        moments.into_iter().map(|moment| moment.unix_timestamp_nanos() / 1000).collect()
    }
}

impl TryFrom<Vec<i128>> for Moments {
    type Error = ComponentRange;

    fn try_from(microseconds: Vec<i128>) -> Result<Self, ComponentRange> {
        let moments = microseconds.into_iter().map(|moment| moment.saturating_mul(1000));
        moments.map(OffsetDateTime::from_unix_timestamp_nanos).collect::<Result<_, _>>().map(Self)
    }
}

impl RecentUse {
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::Identity(IdentityEvent::Renamed { .. }) => self.renames.add(recorded.recorded_at),
            Event::Identity(IdentityEvent::PhoneProvisioned { .. }) => self.numbers.add(recorded.recorded_at),
            _ => {}
        }
    }
}

impl Moments {
    fn add(&mut self, moment: OffsetDateTime) {
        self.0.retain(|earlier| *earlier > moment.saturating_sub(DAY));
        if self.0.len() >= MAX_REMEMBERED as usize {
            self.0.pop_front();
        }
        self.0.push_back(moment);
    }

    /// How long it takes until fewer than `limit` of the moments are less than a day old. `None` if fewer are already, or
    /// if there is no limit (0).
    pub(super) fn wait(&self, limit: u32, now: OffsetDateTime) -> Option<std::time::Duration> {
        let place = self.0.len().checked_sub(limit as usize).filter(|_| limit > 0)?;
        let free_from = self.0.get(place)?.saturating_add(DAY);
        std::time::Duration::try_from(free_from - now).ok().filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::ext::NumericalDuration as _;

    use super::Moments;

    #[test]
    fn the_oldest_moment_within_the_limit_says_how_long_to_wait() {
        let start = OffsetDateTime::UNIX_EPOCH;
        let mut moments = Moments::default();
        for hours in [0, 1, 2] {
            moments.add(start + hours.hours());
        }
        let wait =
            |limit, now: i64| moments.wait(limit, start + now.hours()).map(|wait| wait.as_secs() / 3600);
        assert_eq!(wait(4, 3), None);
        assert_eq!(wait(3, 3), Some(21));
        assert_eq!(wait(2, 3), Some(22));
        assert_eq!(wait(3, 24), None);
        assert_eq!(wait(0, 3), None, "0 is no limit");
    }
}
