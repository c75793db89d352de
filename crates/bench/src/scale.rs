//! How much is measured: a full run takes a quarter of an hour, a quick one a minute.

use std::time::Duration;

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How many turns each contestant takes.
    pub(crate) rounds: usize,
    /// The duration of a turn.
    pub(crate) turn: Duration,
    /// The numbers of connections for creates and gets.
    pub(crate) connections: &'static [usize],
    /// How many identities the gets ask for.
    pub(crate) identities: usize,
    /// How many identities a list has.
    pub(crate) listed: usize,
    /// How many identities each kind of change works on.
    pub(crate) changed: usize,
    /// How many identities a rebuild folds and an export has, five events each.
    pub(crate) rebuilt: usize,
    /// How many of those events the stock stack replays.
    pub(crate) replayed: usize,
    /// The numbers of identities at which growth is measured. Memory is measured at the second one.
    pub(crate) growth: [usize; 3],
    /// How many events the identities have that are read at an earlier moment.
    pub(crate) long: [usize; 2],
    /// How many keys are revoked in one process and used in another, with four other changes each.
    pub(crate) revoked: usize,
    /// How many webhooks wait beside creates.
    pub(crate) queued: usize,
    /// How many events are sent to a log endpoint.
    pub(crate) sent: usize,
}

impl Scale {
    /// The full run, by which the promises are checked.
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
        long: [1_000, 1_000_000],
        revoked: 2_000,
        queued: 1_000_000,
        sent: 10_000,
    };

    /// The quick run, which shows that everything works. Its figures mean little.
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
        long: [600, 6_000],
        revoked: 20,
        queued: 10_000,
        sent: 500,
    };
}
