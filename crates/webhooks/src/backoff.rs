//! A pause that grows with each failure.

use std::time::{Duration, Instant};

/// When something that has failed is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pause: Duration,
    until: Instant,
}

impl Backoff {
    /// The state after a failure. The first pause is `shortest`. Each further one is twice as long, up to `longest`.
    pub(crate) fn after(last: Option<Self>, shortest: Duration, longest: Duration) -> Self {
        let pause = last.map_or(shortest, |last| (last.pause * 2).min(longest));
        Self { pause, until: Instant::now() + pause }
    }

    /// How long the pause is.
    pub(crate) const fn pause(&self) -> Duration {
        self.pause
    }

    /// Whether the pause is over.
    pub(crate) fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// How much of the pause is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn each_pause_is_twice_as_long_as_the_last_up_to_the_longest() {
        let mut last = None;
        let pauses = [1, 2, 4, 5, 5].map(Duration::from_hours);
        for expected in pauses {
            let next = Backoff::after(last, Duration::from_hours(1), Duration::from_hours(5));
            assert_eq!(next.pause, expected);
            assert!(next.remaining() > expected / 2);
            last = Some(next);
        }
    }
}
