//! The load: writers that append one event after the other, and the time of each until it is committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::identity::Created;
use crate::peer::Peer;

/// How long the last appends may take after the time is up.
const LAST_APPENDS_TIMEOUT: Duration = Duration::from_mins(1);

/// The settings of a load.
#[derive(Debug)]
pub(crate) struct Load {
    /// An empty database or folder.
    pub(crate) storage: String,
    /// How many writers append at the same time.
    pub(crate) writers: u32,
    /// The duration.
    pub(crate) time: Duration,
}

/// The measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    peer: String,
    appended: usize,
    seconds: f64,
    latencies_us: Percentiles,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    p50: u64,
    p99: u64,
}

impl Load {
    /// Lets a peer append until the time is up. Fails if an append fails, and if the storage does not contain
    /// exactly the appended events.
    pub(crate) async fn run<P: Peer>(&self) -> anyhow::Result<Report> {
        // Boxed, since the futures of some peers are large.
        let peer = Arc::new(Box::pin(P::open(&self.storage, self.writers)).await?);
        let driven = timeout(self.time + LAST_APPENDS_TIMEOUT, self.drive(&peer)).await;
        let (mut latencies, elapsed) = driven.context("an append did not come back")??;
        latencies.sort_unstable();
        self.verify(peer.as_ref(), latencies.len()).await?;
        Ok(Report {
            peer: format!("{} {}", P::CRATE, locked_version(P::CRATE)?),
            appended: latencies.len(),
            seconds: elapsed.as_secs_f64(),
            latencies_us: Percentiles { p50: percentile(&latencies, 50)?, p99: percentile(&latencies, 99)? },
        })
    }

    async fn drive<P: Peer>(&self, peer: &Arc<P>) -> anyhow::Result<(Vec<Duration>, Duration)> {
        let start = Arc::new(Barrier::new(usize::try_from(self.writers)? + 1));
        let mut writers = JoinSet::new();
        for _ in 0..self.writers {
            writers.spawn(write(Arc::clone(peer), Arc::clone(&start), self.time));
        }
        start.wait().await;
        let started = Instant::now();
        let mut latencies = Vec::new();
        while let Some(written) = writers.join_next().await {
            latencies.extend(written??);
        }
        Ok((latencies, started.elapsed()))
    }

    async fn verify<P: Peer>(&self, peer: &P, appended: usize) -> anyhow::Result<()> {
        let stored = peer.count(&self.storage).await?;
        let first = usize::try_from(self.writers)?;
        ensure!(
            stored == appended + first,
            "{stored} events are stored, and {appended} were appended after the first {first}"
        );
        Ok(())
    }
}

/// The first append of each writer, which is not measured: it prepares connections, statements and caches.
async fn write<P: Peer>(peer: Arc<P>, start: Arc<Barrier>, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let first = peer.append(Created::new()).await;
    // A writer that fails also reaches the barrier, or else the others would wait for ever.
    start.wait().await;
    first?;
    let mut latencies = Vec::new();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let created = Created::new();
        let asked = Instant::now();
        peer.append(created).await?;
        latencies.push(asked.elapsed());
    }
    Ok(latencies)
}

/// The time in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> anyhow::Result<u64> {
    let latency = sorted.get(sorted.len() * percent / 100).context("nothing was appended")?;
    Ok(u64::try_from(latency.as_micros())?)
}

/// The versions of the crates that this program was built with.
fn locked_version(name: &str) -> anyhow::Result<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    version.with_context(|| format!("Cargo.lock does not know {name}"))
}
