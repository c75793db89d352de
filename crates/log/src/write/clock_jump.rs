//! A guard against a database clock that jumps ahead. The times of events never go back: if one event is dated two years
//! ahead, all later events are dated two years ahead, too, and a query for the present (`as_of`) does not find them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;

use crate::error::BatchError;

/// A reading of two clocks: that of the database, and the time since the boot of this machine, which nobody can set.
#[derive(Debug, Clone, Copy)]
struct Reading {
    database: OffsetDateTime,
    /// The time since this machine was booted, which goes on while it sleeps.
    since_boot: Duration,
}

/// What is known of the clock of the database. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ClockGuard(Arc<Mutex<Readings>>);

impl ClockGuard {
    pub(super) fn new(limit: Duration) -> Self {
        Self(Arc::new(Mutex::new(Readings::new(limit))))
    }

    /// Checks a reading of the clock of the database, now.
    pub(super) fn check(&self, database: OffsetDateTime) -> Result<(), BatchError> {
        let reading = Reading { database, since_boot: since_boot() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).check_at(reading, machine_time())
    }

    /// Whether the last reading was not believed.
    pub(crate) fn has_jumped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).jumped.is_some()
    }
}

/// The readings that matter.
#[derive(Debug)]
struct Readings {
    /// How far the clock may jump ahead, and how long a jump must last to be believed.
    limit: Duration,
    /// The last reading that was believed.
    believed: Option<Reading>,
    /// The first reading after a jump that is not believed yet.
    jumped: Option<Reading>,
}

impl Readings {
    fn new(limit: Duration) -> Self {
        Self { limit, believed: None, jumped: None }
    }

    /// Checks a reading of the clock of the database. It is refused
    ///
    /// - if it is ahead of the clock of this machine by more than the limit;
    /// - if since the last reading that was believed it has gained more than the limit on the time since boot. Once it
    ///   has gone on from there without another jump for as long as the limit, it is believed: the machine's clock
    ///   agrees with it, so somebody has corrected both.
    fn check_at(&mut self, reading: Reading, machine: OffsetDateTime) -> Result<(), BatchError> {
        let ahead_of_machine = positive(reading.database - machine);
        let ahead = self.believed.map_or(Duration::ZERO, |believed| reading.ahead_of(believed));
        let lasts = self.jumped.is_some_and(|jumped| self.goes_on(jumped, reading));
        if ahead_of_machine <= self.limit && (ahead <= self.limit || lasts) {
            if self.jumped.take().is_some() {
                tracing::warn!(clock = %reading.database, "the clock of the database is believed again");
            }
            self.believed = Some(reading);
            return Ok(());
        }
        let by = ahead.max(ahead_of_machine);
        if self.jumped.is_none_or(|jumped| reading.ahead_of(jumped) > self.limit) {
            tracing::error!(
                clock = %reading.database,
                ?by,
                "the clock of the database has jumped ahead: nothing is written until it is set right, or has gone on \
                 without another jump for `max_clock_jump_seconds`"
            );
            self.jumped = Some(reading);
        }
        Err(BatchError::ClockJumped(by))
    }

    /// Whether the clock has gone on from a jump for as long as the limit, without another jump.
    fn goes_on(&self, jumped: Reading, reading: Reading) -> bool {
        let passed = reading.since_boot.saturating_sub(jumped.since_boot);
        passed >= self.limit && reading.ahead_of(jumped) <= self.limit
    }
}

impl Reading {
    /// How much time the clock of the database has gained on the time since boot, since an earlier reading.
    fn ahead_of(self, earlier: Self) -> Duration {
        let passed = self.since_boot.saturating_sub(earlier.since_boot);
        positive(self.database - earlier.database).saturating_sub(passed)
    }
}

fn positive(difference: time::Duration) -> Duration {
    Duration::try_from(difference).unwrap_or_default()
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "the clocks of two machines are compared")]
fn machine_time() -> OffsetDateTime {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    /// A guard, and the seconds that have passed.
    struct Scene {
        guard: Readings,
        seconds: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self { guard: Readings::new(LIMIT), seconds: 0 }
        }

        /// Whether a reading is believed if the two clocks are so many seconds ahead.
        fn believes(&mut self, database: i64, machine: i64) -> bool {
            let at = |ahead: i64| {
                OffsetDateTime::UNIX_EPOCH
                    + time::Duration::seconds(ahead)
                    + Duration::from_secs(self.seconds)
            };
            let reading =
                Reading { database: at(database), since_boot: Duration::from_secs(1_000 + self.seconds) };
            self.guard.check_at(reading, at(machine)).is_ok()
        }
    }

    #[test]
    fn a_clock_that_goes_on_or_is_set_a_little_is_believed() {
        let mut scene = Scene::new();
        for (passes, database) in
            [(0, 0), (10, 0), (100_000, 0), (1, 59), (1, 0), (1, -100_000), (70, -99_941)]
        {
            scene.seconds += passes;
            assert!(scene.believes(database, 0), "{database}");
        }
    }

    #[test]
    fn a_database_ahead_of_this_machine_is_never_believed() {
        let mut scene = Scene::new();
        for passes in [0, 30, 1_000, 1_000_000] {
            scene.seconds += passes;
            assert!(!scene.believes(61, 0));
        }
        assert!(scene.believes(60, 0));
    }

    #[test]
    fn a_jump_of_the_whole_machine_is_waited_out() {
        let mut scene = Scene::new();
        assert!(scene.believes(0, 0));
        for _ in 0..60 {
            assert!(!scene.believes(5_000, 5_000));
            scene.seconds += 1;
        }
        assert!(scene.believes(5_000, 5_000), "it has lasted for a minute");
        scene.seconds += 1;
        assert!(!scene.believes(9_000, 9_000));
        assert!(scene.believes(5_000, 5_000), "it came back");
        assert!(!scene.believes(9_000, 9_000), "the time before it came back does not count");
    }

    #[test]
    fn a_clock_that_jumps_on_and_on_is_not_believed() {
        let mut scene = Scene::new();
        assert!(scene.believes(0, 0));
        for jump in 1..100 {
            scene.seconds += 30;
            assert!(!scene.believes(jump * 1_000, jump * 1_000), "{jump}");
        }
    }
}
