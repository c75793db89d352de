//! How long a revoked key and a revoked grant still work on another process over the same database.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::arena::Arena;
use crate::ours::{self, Ours, ask};
use crate::results::{Bound, Results};
use crate::scale::Scale;

/// How often each is revoked in a round.
const REVOCATIONS_PER_ROUND: usize = 20;

/// How long the other process may answer as before.
const MAX_WAIT: Duration = Duration::from_secs(10);

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    let beside = ours::serve(arena, "ours").await?;
    let agents = REVOCATIONS_PER_ROUND * scale.rounds;
    let seeded = ours.seed("agent", agents + 1).await?;
    let target = format!("/identities/{}", seeded.handle(agents));
    let (mut grants, mut keys) = (Duration::ZERO, Duration::ZERO);
    for (number, key) in ours.agents(&seeded, agents).await? {
        let (here, there) = (ours.server.address, beside.address);
        let viewer = seeded.ids.get(number).context("an agent without an id")?;
        let granted = format!(r#"{{"viewer_identity_id":"{viewer}"}}"#);
        ensure!(ask(here, "POST", &format!("{target}/access"), &ours.key, &granted).await? == 201);
        until(there, &target, &key, 200).await?;
        ensure!(ask(here, "DELETE", &format!("{target}/access/{viewer}"), &ours.key, "").await? == 204);
        grants = grants.max(until(there, &target, &key, 404).await?);

        let itself = format!("/identities/{}", seeded.handle(number));
        until(there, &itself, &key, 200).await?;
        let id = key.split('.').next().context("a key without an id")?;
        ensure!(ask(here, "DELETE", &format!("/api-keys/{id}"), &ours.key, "").await? == 204);
        keys = keys.max(until(there, &itself, &key, 401).await?);
    }
    for (what, longest) in [("grant", grants), ("key", keys)] {
        let claim =
            format!("milliseconds until another process refuses a revoked {what}, the longest of {agents}");
        results.judge(claim, longest.as_secs_f64() * 1000.0, Bound::AtMost(100.0));
    }
    beside.stop().await?;
    ours.stop().await
}

/// The time until a get is answered with a status.
async fn until(address: SocketAddr, path: &str, key: &str, status: u16) -> anyhow::Result<Duration> {
    let since = Instant::now();
    while ask(address, "GET", path, key, "").await? != status {
        ensure!(since.elapsed() < MAX_WAIT, "{path} is not answered with {status}");
    }
    Ok(since.elapsed())
}
