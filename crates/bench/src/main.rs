//! `identity-bench`: measures the service side by side with the stock stack and with the floors of the machine.
//!
//! # Code map
//! - `workloads`: what is measured, one file each. To add one: a file with a `run`, an entry in `Workload`.
//! - `turns`, `results`, `report`, `plot`: contestants take turns; medians, ratios and promises of the results.
//! - `load`, `answer`, `requests`: the HTTP load.
//! - `arena`, `ours`, `stock`, `nginx`, `pgbench`, `seed`: Postgres, the contestants, and the data before a workload begins.
//!
//! # Invariants, as absences
//! - No setting of Postgres is relaxed, and all contestants use the same Postgres.
//! - No ratio is between figures that were not measured in turns side by side.

mod answer;
mod arena;
mod load;
mod machine;
mod nginx;
mod ours;
mod pgbench;
mod plot;
mod report;
mod requests;
mod results;
mod scale;
mod seed;
mod stock;
mod turns;
mod workloads;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::serve::ListenerExt as _;
use clap::{Parser, Subcommand, ValueEnum as _};
use tokio::net::TcpListener;

use crate::arena::Arena;
use crate::results::{Results, say};
use crate::scale::Scale;
use crate::workloads::Workload;

/// The same for all contestants, and for the rebuilds that run in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the service side by side with the stock stack and with the floors of this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Less than a minute, to see that everything works
    #[arg(long)]
    smoke: bool,

    /// Workloads to measure; all by default
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    only: Vec<Workload>,

    /// Folder of the report, the plots and the Postgres
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    folder: PathBuf,

    #[command(subcommand)]
    contestant: Option<Contestant>,
}

/// Servers that the bench runs beside the service.
#[derive(Debug, Subcommand)]
enum Contestant {
    /// Serve the stock stack over a prepared database
    Stock {
        /// Where it is
        database_url: String,
    },
    /// Answer everything with the bytes of a file
    Memory {
        /// The file
        body: PathBuf,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.contestant {
        Some(Contestant::Stock { database_url }) => stock::serve(database_url).await,
        Some(Contestant::Memory { body }) => serve_memory(body).await,
        // The future is boxed because it contains those of all workloads.
        None => Box::pin(measure(&arguments)).await,
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let scale = if arguments.smoke { Scale::SMOKE } else { Scale::FULL };
    let arena = Arena::open(&arguments.folder).await?;
    match Box::pin(measure_in(&arena, arguments, scale)).await {
        Ok(()) => arena.clear().await,
        // The data may show why.
        Err(error) => arena.close().await.and(Err(error)),
    }
}

async fn measure_in(arena: &Arena, arguments: &Arguments, scale: Scale) -> anyhow::Result<()> {
    let machine = machine::describe(&mut arena.connect().await?).await?;
    let mut results = Results::default();
    let all = Workload::value_variants();
    let workloads = if arguments.only.is_empty() { all } else { &arguments.only };
    for workload in workloads {
        let outcome = Box::pin(workload.run(arena, scale, &mut results)).await;
        outcome.with_context(|| format!("cannot measure {workload:?}"))?;
    }
    for workload in ["create", "get-uniform"] {
        plot::draw(&arguments.folder, workload, &results)?;
    }
    say(&format!("\n{}", report::write(&arguments.folder, &machine, &results)?));
    Ok(())
}

async fn serve_memory(body: &Path) -> anyhow::Result<()> {
    let body: &'static [u8] = std::fs::read(body)?.leak();
    let answer = move || async move { ([(CONTENT_TYPE, "application/json")], body) };
    serve(SocketAddr::from(([127, 0, 0, 1], 0)), Router::new().fallback(answer)).await
}

/// Serves until the process is killed. Prints its address like the service.
async fn serve(address: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    say(&format!("listening on http://{}", listener.local_addr()?));
    axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router).await?;
    Ok(())
}
