//! When a delivery is tried again, and when an endpoint is given up. Pure: the moment and the random number are given.

use std::time::Duration;

use time::OffsetDateTime;

/// How long to wait after the first attempt, the second, and so on.
pub const DEFAULT_RETRY_DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(3),
    Duration::from_hours(6),
    Duration::from_hours(12),
    Duration::from_hours(24),
];

/// For how long every attempt must have failed before an endpoint is disabled.
pub const DEFAULT_GIVE_UP_AFTER: Duration = Duration::from_hours(5 * 24);

/// How many of the longest pauses between two attempts make up the time after which an endpoint is disabled.
const PAUSES: u32 = 2;

/// The longest wait that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// By which part a delay is longer or shorter at most, so that deliveries that failed together are not repeated together.
const JITTER: f64 = 0.2;

/// When to repeat, and when to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// How long to wait after the first attempt, the second, and so on.
    pub delays: Vec<Duration>,
    /// For how long every attempt must have failed before an endpoint is disabled.
    pub give_up_after: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { delays: DEFAULT_RETRY_DELAYS.to_vec(), give_up_after: DEFAULT_GIVE_UP_AFTER }
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered with 2xx.
    Delivered,
    /// It did not. It may have asked for a wait.
    Failed {
        /// What `Retry-After` of a 429 or 503 asks for.
        retry_after: Option<Duration>,
    },
    /// It answered with 410: it wants nothing more.
    Gone,
}

/// What happens next with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was delivered.
    Done,
    /// It is tried again at this moment.
    RetryAt(OffsetDateTime),
    /// Nothing: it was tried as often as it is tried.
    Abandon,
    /// The endpoint is disabled, and gets nothing more.
    Disable(Reason),
}

/// Why an endpoint is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It answered with 410.
    Gone,
    /// Everything that was sent to it failed for days.
    Failing,
}

impl Reason {
    /// The name of the reason in the history.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// An attempt, as the schedule needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct Attempted {
    /// When it ended.
    pub now: OffsetDateTime,
    /// The number of attempts of this delivery, with this one.
    pub attempts: u32,
    /// When the first of the failures began that the endpoint has had since its last success; `None` if it has had none.
    pub failing_since: Option<OffsetDateTime>,
    /// A random number from 0 to 1.
    pub random: f64,
}

impl Schedule {
    /// What happens next with a delivery that may be abandoned.
    pub fn next(&self, outcome: Outcome, attempted: &Attempted) -> Next {
        match outcome {
            Outcome::Delivered => Next::Done,
            Outcome::Gone => Next::Disable(Reason::Gone),
            Outcome::Failed { .. } if self.is_given_up(attempted) => Next::Disable(Reason::Failing),
            Outcome::Failed { retry_after } => match self.delay(attempted.attempts) {
                Some(delay) => Next::RetryAt(at(attempted, delay, retry_after)),
                None => Next::Abandon,
            },
        }
    }

    /// What happens next with a delivery that is never abandoned, since others wait behind it: the last delay is repeated.
    pub fn next_in_order(&self, outcome: Outcome, attempted: &Attempted) -> Next {
        let last = u32::try_from(self.delays.len()).unwrap_or(u32::MAX);
        self.next(outcome, &Attempted { attempts: attempted.attempts.min(last), ..*attempted })
    }

    /// How long the attempts at a delivery take at most, unless the receiver asks for longer waits: all delays at their longest,
    /// and as many attempts with this time limit.
    pub fn longest_delivery(&self, timeout: Duration) -> Duration {
        self.delays.iter().map(|delay| timeout + delay.mul_f64(1.0 + JITTER)).sum::<Duration>() + timeout
    }

    /// After how long without an attempt an endpoint is no longer known to be failing: it may have worked in between.
    pub fn longest_pause(&self) -> Duration {
        self.give_up_after / PAUSES
    }

    /// When a delivery is due again after an attempt that ended at `now`; `None` if it is not. The history deletes what waits for
    /// an endpoint that was disabled. If the endpoint is not disabled, since it has another address by now or the history could
    /// not be written, the delivery is due after the first delay.
    pub fn due_at(&self, next: Next, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match next {
            Next::RetryAt(moment) => Some(moment),
            Next::Disable(_) => Some(now + self.delays.first().copied().unwrap_or_default()),
            Next::Done | Next::Abandon => None,
        }
    }

    fn is_given_up(&self, attempted: &Attempted) -> bool {
        attempted.failing_since.is_some_and(|since| attempted.now - since >= self.give_up_after)
    }

    /// How long to wait after so many attempts; the last delay is repeated.
    pub fn repeated_delay(&self, attempts: u32) -> Duration {
        self.delay(attempts).or_else(|| self.delays.last().copied()).unwrap_or_default()
    }

    fn delay(&self, attempts: u32) -> Option<Duration> {
        let before = usize::try_from(attempts.checked_sub(1)?).ok()?;
        self.delays.get(before).copied()
    }
}

fn at(attempted: &Attempted, delay: Duration, retry_after: Option<Duration>) -> OffsetDateTime {
    let delay = delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * attempted.random.clamp(0.0, 1.0));
    attempted.now + delay.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::{Attempted, DEFAULT_RETRY_DELAYS, Next, Outcome, Reason, Schedule};

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
    const FAILED: Outcome = Outcome::Failed { retry_after: None };

    fn attempted(attempts: u32) -> Attempted {
        Attempted { now: NOW, attempts, failing_since: None, random: 0.5 }
    }

    fn retried_after(attempts: u32, outcome: Outcome) -> Duration {
        match Schedule::default().next(outcome, &attempted(attempts)) {
            Next::RetryAt(moment) => (moment - NOW).unsigned_abs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_failure_waits_longer_until_the_delivery_is_abandoned() {
        for (attempts, delay) in (1..).zip(DEFAULT_RETRY_DELAYS) {
            assert_eq!(retried_after(attempts, FAILED), delay);
        }
        assert_eq!(Schedule::default().next(FAILED, &attempted(10)), Next::Abandon);
        let in_order = Schedule::default().next_in_order(FAILED, &attempted(1_000));
        assert_eq!(in_order, Next::RetryAt(NOW + Duration::from_hours(24)));
    }

    #[test]
    fn jitter_is_a_fifth_at_most() {
        for (random, seconds) in [(0.0, 4), (1.0, 6)] {
            let attempted = Attempted { random, ..attempted(1) };
            let expected = Next::RetryAt(NOW + Duration::from_secs(seconds));
            assert_eq!(Schedule::default().next(FAILED, &attempted), expected);
        }
    }

    #[test]
    fn a_receiver_can_ask_for_a_longer_wait_of_a_day_at_most() {
        let asked = |seconds| Outcome::Failed { retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(retried_after(1, asked(1)), Duration::from_secs(5));
        assert_eq!(retried_after(1, asked(100)), Duration::from_secs(100));
        assert_eq!(retried_after(1, asked(u64::MAX)), Duration::from_hours(24));
    }

    #[test]
    fn an_endpoint_is_disabled_when_it_is_gone_or_failed_for_five_days() {
        let failing_for = |time| Attempted { failing_since: Some(NOW - time), ..attempted(1) };
        let schedule = Schedule::default();
        assert_eq!(schedule.next(Outcome::Gone, &attempted(1)), Next::Disable(Reason::Gone));
        let next = schedule.next(FAILED, &failing_for(Duration::from_hours(119)));
        assert!(matches!(next, Next::RetryAt(_)));
        let next = schedule.next(FAILED, &failing_for(Duration::from_hours(120)));
        assert_eq!(next, Next::Disable(Reason::Failing));
        let next = schedule.next(Outcome::Delivered, &failing_for(Duration::from_hours(1_000)));
        assert_eq!(next, Next::Done);
    }
}
