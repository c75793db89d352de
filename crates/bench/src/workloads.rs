//! The workloads, in the order of their importance.

mod append;
mod backup;
mod changes;
mod create;
mod export;
mod get;
mod growth;
mod list;
mod mixed;
mod neighbour;
mod past;
mod processes;
mod rebuild;
mod webhooks;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use tokio::process::Command;

use crate::arena::{self, Arena, Server, tidy};
use crate::load::{self, Load, TO_THE_END};
use crate::ours::Ours;
use crate::requests::Walk;
use crate::results::Results;
use crate::scale::Scale;
use crate::seed::copy;
use crate::stock;

/// How often the memory of a command is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Names of workloads on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Creates over 1 to 128 connections.
    Create,
    /// Gets by handle, uniform and Zipf.
    Get,
    /// The whole list of one organization, and pages of it.
    List,
    /// 90% gets, 10% changes.
    Mixed,
    /// Renames, grants, deletes.
    Changes,
    /// Two processes over one database: creates, gets, and whether one answers with less than the other has acknowledged.
    Processes,
    /// Rebuild of a read model from a long log.
    Rebuild,
    /// Export of history, its verification; backup and restore.
    Export,
    /// One identity with a long history: at an earlier moment, and when a process meets it for the first time.
    Past,
    /// Appends and creates beside other event stores.
    Append,
    /// Creates and gets while the data grows, memory, and start time.
    Growth,
    /// A victim beside a hostile key.
    Neighbour,
    /// From the commit to the receiver, also beside endpoints that are dead or slow, and with a long queue.
    Webhooks,
}

impl Workload {
    /// Runs the workload.
    pub(crate) async fn run(self, arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
        match self {
            Self::Create => create::run(arena, scale, results).await,
            Self::Get => get::run(arena, scale, results).await,
            Self::List => list::run(arena, scale, results).await,
            Self::Mixed => mixed::run(arena, scale, results).await,
            Self::Changes => changes::run(arena, scale, results).await,
            Self::Processes => Box::pin(processes::run(arena, scale, results)).await,
            Self::Rebuild => Box::pin(rebuild::run(arena, scale, results)).await,
            Self::Export => Box::pin(export::run(arena, scale, results)).await,
            Self::Past => past::run(arena, scale, results).await,
            Self::Append => append::run(arena, scale, results).await,
            Self::Growth => growth::run(arena, scale, results).await,
            Self::Neighbour => neighbour::run(arena, scale, results).await,
            Self::Webhooks => webhooks::run(arena, scale, results).await,
        }
    }
}

/// The stock stack over an empty database.
async fn stock(arena: &Arena) -> anyhow::Result<(Server, sqlx::PgPool)> {
    let pool = arena.database("stock").await?;
    stock::prepare(&pool).await?;
    let server = arena.serve("identity-bench", &["stock", &arena.url("stock")]).await?;
    Ok((server, pool))
}

/// The stock stack with the same identities, which are copied in bulk.
async fn stock_beside(arena: &Arena, ours: &Ours) -> anyhow::Result<Server> {
    let (server, pool) = stock(arena).await?;
    let view = "select agent_handle, 1::bigint, document::json from read_model.identities";
    copy(&ours.pool, view, &pool, "identity_view").await?;
    let events =
        "select aggregate_type, agent_handle, sequence, event_type, event_version, payload::json, '{}'::json
                  from events
                  join read_model.identities on id::text = aggregate_id
                  where aggregate_type = 'identity'";
    copy(&ours.pool, events, &pool, "events").await?;
    tidy(&pool).await?;
    Ok(server)
}

/// Warms a contestant up: gets every seeded identity once.
async fn warm_up(address: SocketAddr, key: &str, count: usize) -> anyhow::Result<()> {
    let walk = Walk { key: key.to_owned(), prefix: "agent".to_owned(), count, next: AtomicUsize::new(0) };
    load::run(Load { address, connections: 32, time: TO_THE_END }, Arc::new(walk)).await.map(drop)
}

/// Runs a command of the service's binary. Returns how long it took.
async fn identityd(arguments: &[&str]) -> anyhow::Result<Duration> {
    Ok(identityd_watched(arguments).await?.0)
}

/// The same, with the maximum of its resident memory in MiB.
async fn identityd_watched(arguments: &[&str]) -> anyhow::Result<(Duration, f64)> {
    let program = std::env::current_exe()?.with_file_name("identityd");
    let started = Instant::now();
    let child =
        Command::new(&program).args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let process = child.id().context("a command has no process")?;
    let (mut peak, mut ended) = (0.0, std::pin::pin!(child.wait_with_output()));
    let output = loop {
        tokio::select! {
            output = &mut ended => break output?,
            // When it has ended, its memory is gone.
            () = tokio::time::sleep(LOOK_AGAIN) => peak = arena::peak(process).unwrap_or(peak),
        }
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "identityd {arguments:?} failed: {complaint}");
    Ok((started.elapsed(), peak))
}
