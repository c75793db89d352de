//! Appends through the log and creates over HTTP, beside other event stores: on the same Postgres, and UmaDB in a folder
//! of its own. 64 writers append the first event of a new stream each, and wait for their own commit. The guarantees of
//! an append differ widely; the README of the peers has a table of them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::arena::Arena;
use crate::load::{self, Load};
use crate::ours::Ours;
use crate::requests::Creates;
use crate::results::{Results, Round, Series};
use crate::scale::Scale;
use crate::seed::Seeder;

/// How many writers append at the same time.
const WRITERS: usize = 64;

/// The peers, by their names in the program `identity-bench-peers`.
const PEERS: [&str; 6] = [UMADB, "mire", "skilj", "disintegrate", "esrs", "eventsourcing"];

/// The peer that has no Postgres.
const UMADB: &str = "umadb";

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    // Over a database of its own: two processes that write take turns.
    let served = Ours::start(arena, "served").await?;
    served.becomes_sole().await?;
    let creates = Arc::new(Creates::new(&served.key, "born"));
    let load = Load { address: served.server.address, connections: WRITERS, time: scale.turn };
    let (mut appended, mut births) = (vec![], vec![]);
    let mut peers: Vec<(&'static str, PathBuf, Vec<Round>)> =
        PEERS.into_iter().filter_map(|peer| Some((peer, program(peer)?, vec![]))).collect();
    for round in 0..scale.rounds {
        let seeder =
            async |seeder: &Seeder| seeder.append_for(&format!("r{round}"), WRITERS, scale.turn).await;
        let measured = ours.seeding(seeder).await?;
        appended.push(Round::of(&measured));
        births.push(Round::of(&load::run(load, creates.clone()).await?));
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
    let peers = peers.into_iter().map(|(peer, _, rounds)| (peer, rounds));
    let all = [("ours", appended), ("creates", births)].into_iter().chain(peers);
    for (contestant, rounds) in all {
        results.add(Series { workload: "append".to_owned(), contestant, connections: WRITERS, rounds });
    }
    served.stop().await?;
    ours.stop().await
}

/// The program of the peers, if it was built.
fn program(peer: &str) -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.parent()?.join("peers");
    let program = match peer {
        "eventsourcing" => folder.join("venv/bin/python"),
        _ => folder.join("release/identity-bench-peers"),
    };
    // The server of UmaDB is a program of its own.
    let is_built = program.exists() && (peer != UMADB || folder.join("release/umadb").exists());
    is_built.then_some(program)
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
    // The checkpoint that comes with a new database also keeps Postgres quiet beside a peer that does not use it.
    arena.database("peer").await?.close().await;
    let storage = match peer {
        UMADB => arena.empty_folder("peer")?.to_string_lossy().into_owned(),
        _ => arena.url("peer"),
    };
    let mut command = Command::new(program);
    if peer == "eventsourcing" {
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/eventsourcing_peer.py"));
    }
    let seconds = time.as_secs().max(1).to_string();
    command.args([peer, &storage, "--writers", &WRITERS.to_string(), "--seconds", &seconds]);
    let output = command.output().await.with_context(|| format!("cannot run {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{peer} failed: {complaint}");
    if peer == UMADB {
        fs::remove_dir_all(&storage)?;
    }
    let told: PeerOutput =
        serde_json::from_slice(&output.stdout).with_context(|| format!("what does {peer} say?"))?;
    Ok(Round {
        per_second: f64::from(told.appended) / told.seconds,
        p50: told.latencies_us.p50 / 1000.0,
        p99: told.latencies_us.p99 / 1000.0,
    })
}
