//! Appends through the log, beside other event stores on the same Postgres. 64 writers append the first event of a
//! new stream each, and wait for their own commit. The guarantees of an append differ widely; the README of the peers
//! has a table of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::arena::Arena;
use crate::ours::Ours;
use crate::results::{Results, Round, Series};
use crate::scale::Scale;
use crate::seed::Seeder;

/// How many writers append at the same time.
const WRITERS: usize = 64;

/// The peers, by their names in the program `identity-bench-peers`.
const PEERS: [&str; 5] = ["mire", "skilj", "disintegrate", "esrs", "eventsourcing"];

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    let mut appended = vec![];
    let mut peers: Vec<(&'static str, PathBuf, Vec<Round>)> =
        PEERS.into_iter().filter_map(|peer| Some((peer, program(peer)?, vec![]))).collect();
    for round in 0..scale.rounds {
        let seeder =
            async |seeder: &Seeder| seeder.append_for(&format!("r{round}"), WRITERS, scale.turn).await;
        let measured = ours.seeding(seeder).await?;
        appended.push(Round::of(&measured));
        for (peer, program, rounds) in &mut peers {
            rounds.push(ask(arena, peer, program, scale.turn).await?);
        }
    }
    let missing: Vec<&str> = PEERS.into_iter().filter(|peer| program(peer).is_none()).collect();
    if !missing.is_empty() {
        results
            .notes
            .push(format!("not measured, for they are not built (make peers): {}", missing.join(", ")));
    }
    let all =
        [("ours", appended)].into_iter().chain(peers.into_iter().map(|(peer, _, rounds)| (peer, rounds)));
    for (contestant, rounds) in all {
        results.add(Series { workload: "append".to_owned(), contestant, connections: WRITERS, rounds });
    }
    ours.stop().await
}

/// The program of the peers, if it was built.
fn program(peer: &str) -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.parent()?.join("peers");
    let program = match peer {
        "eventsourcing" => folder.join("venv/bin/python"),
        _ => folder.join("release/identity-bench-peers"),
    };
    program.exists().then_some(program)
}

/// The output of a peer.
#[derive(Debug, Deserialize)]
struct PeerOutput {
    appended: u32,
    seconds: f64,
    latencies_us: Latencies,
}

#[derive(Debug, Deserialize)]
struct Latencies {
    p50: f64,
    p99: f64,
}

async fn ask(arena: &Arena, peer: &str, program: &PathBuf, time: Duration) -> anyhow::Result<Round> {
    let pool = arena.database("peer").await?;
    pool.close().await;
    let mut command = Command::new(program);
    if peer == "eventsourcing" {
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/eventsourcing_peer.py"));
    }
    let seconds = time.as_secs().max(1).to_string();
    command.args([peer, &arena.url("peer"), "--writers", &WRITERS.to_string(), "--seconds", &seconds]);
    let output = command.output().await.with_context(|| format!("cannot run {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{peer} failed: {complaint}");
    let told: PeerOutput =
        serde_json::from_slice(&output.stdout).with_context(|| format!("what does {peer} say?"))?;
    Ok(Round {
        per_second: f64::from(told.appended) / told.seconds,
        p50: told.latencies_us.p50 / 1000.0,
        p99: told.latencies_us.p99 / 1000.0,
    })
}
