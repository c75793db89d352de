//! How much is measured: all within a quarter of an hour, or a glance within a minute.

use std::time::Duration;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often contestants take turns.
    pub(crate) rounds: usize,
    /// How long a turn is.
    pub(crate) turn: Duration,
    /// Over how many connections creates and gets are measured.
    pub(crate) connections: &'static [usize],
    /// How many identities gets choose from.
    pub(crate) identities: usize,
    /// How many identities a list has.
    pub(crate) listed: usize,
    /// How many identities each kind of change works on.
    pub(crate) changed: usize,
    /// How many identities a rebuild folds and an export has, five events each.
    pub(crate) rebuilt: usize,
    /// How many of their events the stock stack replays.
    pub(crate) replayed: usize,
    /// How many identities there are while growth is measured; memory is, too, beside the second number.
    pub(crate) growth: [usize; 3],
    /// How many events the identity has that is asked for as of a moment that has passed.
    pub(crate) long: usize,
}

impl Scale {
    /// What the promises are held against.
    pub(crate) const FULL: Self = Self {
        rounds: 3,
        turn: Duration::from_secs(2),
        connections: &[1, 8, 32, 64, 128],
        identities: 100_000,
        listed: 10_000,
        changed: 10_000,
        rebuilt: 200_000,
        replayed: 8_000,
        growth: [10_000, 1_000_000, 5_000_000],
        long: 1_000,
    };

    /// Whether everything works; the figures mean little.
    pub(crate) const SMOKE: Self = Self {
        rounds: 1,
        turn: Duration::from_millis(500),
        connections: &[1, 32],
        identities: 1_000,
        listed: 500,
        changed: 500,
        rebuilt: 1_000,
        replayed: 500,
        growth: [500, 2_000, 5_000],
        long: 50,
    };
}
