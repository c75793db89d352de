//! Reading history: all events as lines beside the same rows by COPY through psql, and the verification of an export.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::{backup, identityd};
use crate::arena::Arena;
use crate::ours::{self, HISTORY, Ours};
use crate::results::{Bound, Results, Round, Series};
use crate::scale::Scale;

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::with_history(arena, scale, results).await?;
    ours.all_signed().await?;
    export(arena, &ours, scale, results).await?;
    verify(arena, &ours, scale, results).await?;
    backup::run(arena, &ours, scale, results).await?;
    ours.stop().await
}

async fn export(arena: &Arena, ours: &Ours, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let usual = ours.server.resident()?;
    let (mut lines, mut floor) = (vec![], vec![]);
    for _ in 0..scale.rounds {
        lines.push(stream(ours).await?);
        floor.push(copy(&arena.url(HISTORY), &ours.organization_id, ours.events().await?).await?);
    }
    let taken = ours.server.peak()? - usual;
    for (contestant, rounds) in [("ours", lines), ("floor", floor)] {
        results.add(Series { workload: "export".to_owned(), contestant, connections: 1, rounds });
    }
    let rate = rate(results, "export");
    results.judge("events a second of an export".to_owned(), rate, Bound::AtLeast(150_000.0));
    results.judge("MiB that exports take beside the usual".to_owned(), taken, Bound::AtMost(64.0));
    Ok(())
}

/// The verification of a file with the command line, which needs only the verifier key.
async fn verify(arena: &Arena, ours: &Ours, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let key = ours.get("/log/key").await?;
    let (file, data_dir, url) = (arena.file("export.ndjson"), ours::data_dir(arena), arena.url(HISTORY));
    let name = file.to_string_lossy();
    let export = ["audit", "export", "--org", &ours.organization_id, "--output", &name];
    let place = ["--database-url", &url, "--data-dir", &data_dir];
    let written = identityd(&[export.as_slice(), &place].concat()).await?;
    let events = ours.events().await?;
    let mut verified = vec![];
    for _ in 0..scale.rounds {
        let time = identityd(&["audit", "verify", &name, "--key", key.trim_end()]).await?;
        verified.push(Round::work(events, time));
    }
    tokio::fs::remove_file(&file).await?;
    let written = Round::work(events, written);
    for (workload, rounds) in [("audit export", vec![written]), ("audit verify", verified)] {
        let workload = workload.to_owned();
        results.add(Series { workload, contestant: "ours", connections: 1, rounds });
    }
    let rate = rate(results, "audit verify");
    results.judge("events a second of audit verify".to_owned(), rate, Bound::AtLeast(300_000.0));
    Ok(())
}

fn rate(results: &Results, workload: &str) -> f64 {
    results.find(workload, 1, "ours").map_or(0.0, |series| series.median(|round| round.per_second))
}

/// Reads the whole history, and keeps only its trailer.
async fn stream(ours: &Ours) -> anyhow::Result<Round> {
    let started = Instant::now();
    let mut stream = ours.ask("/events", "application/x-ndjson").await?;
    let (mut end, mut buffer) = (Vec::new(), vec![0; 256 * 1024]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        end.extend_from_slice(buffer.get(..read).unwrap_or_default());
        end.drain(..end.len().saturating_sub(8192));
    }
    let time = started.elapsed();
    let end = String::from_utf8_lossy(&end);
    let count = end.rsplit("{\"trailer\":{\"count\":").next().and_then(|rest| rest.split(',').next());
    let count: usize = count.and_then(|count| count.parse().ok()).context("the export was cut off")?;
    ensure!(count == ours.events().await?, "{count} events are not all of them");
    Ok(Round::work(count, time))
}

/// The same rows by COPY from Postgres.
async fn copy(url: &str, organization_id: &str, events: usize) -> anyhow::Result<Round> {
    let query = format!(
        "copy (select organization_id, organization_sequence, aggregate_type, aggregate_id, sequence, event_type,
                      event_version, recorded_at, payload, metadata
               from events where organization_id = '{organization_id}' order by organization_sequence) to stdout"
    );
    let started = Instant::now();
    let mut psql = Command::new("psql");
    let status = psql.args(["--no-psqlrc", "--command", &query, url]).stdout(Stdio::null()).status().await;
    ensure!(status.context("cannot run psql")?.success(), "psql failed");
    Ok(Round::work(events, started.elapsed()))
}
