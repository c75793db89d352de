//! A backup of a long history, its verification, and its restore into an empty database, each as a whole command. Floors are in
//! the workload `rebuild`: COPY of the events out and in.

use std::time::Duration;

use super::identityd_watched;
use crate::arena::Arena;
use crate::ours::{self, HISTORY, Ours};
use crate::results::{Bound, Results, Round, Series};
use crate::scale::Scale;

/// The database that is restored into.
const RESTORED: &str = "restored";

/// The runs of one command.
#[derive(Default)]
struct Runs {
    rounds: Vec<Round>,
    /// The most memory that it took, in MiB.
    peak: f64,
}

impl Runs {
    fn add(&mut self, events: usize, (time, peak): (Duration, f64)) {
        self.rounds.push(Round::work(events, time));
        self.peak = self.peak.max(peak);
    }
}

pub(super) async fn run(
    arena: &Arena,
    ours: &Ours,
    scale: Scale,
    results: &mut Results,
) -> anyhow::Result<()> {
    let (file, data_dir) = (arena.file("backup"), ours::data_dir(arena));
    let (name, events) = (file.to_string_lossy().into_owned(), ours.events().await?);
    let (mut taken, mut verified, mut restored) = (Runs::default(), Runs::default(), Runs::default());
    for _ in 0..scale.rounds {
        let backup = ["backup", &name, "--database-url", &arena.url(HISTORY), "--data-dir", &data_dir];
        taken.add(events, identityd_watched(&backup).await?);
        verified.add(events, identityd_watched(&["backup", "verify", &name]).await?);
        arena.database(RESTORED).await?.close().await;
        let url = arena.url(RESTORED);
        let restore = ["restore", &name, "--nothing-lost", "--database-url", &url, "--data-dir", &data_dir];
        restored.add(events, identityd_watched(&restore).await?);
        tokio::fs::remove_file(&file).await?;
    }
    for (workload, Runs { rounds, peak }) in
        [("backup", taken), ("backup verify", verified), ("restore", restored)]
    {
        let series = Series { workload: workload.to_owned(), contestant: "ours", connections: 1, rounds };
        let rate = series.median(|round| round.per_second);
        results.add(series);
        results.judge(format!("events a second of {workload}"), rate, Bound::AtLeast(100_000.0));
        results.judge(format!("MiB of memory of {workload}"), peak, Bound::AtMost(128.0));
    }
    Ok(())
}
