//! `identity-bench-peers`: measures how fast other event stores append. Most of them append to the Postgres on which the
//! service is measured, and UmaDB to storage of its own.
//!
//! # Code map
//! - `load`: the measurement, which is the same for all peers.
//! - `identity`: the event that every peer appends, and its metadata.
//! - `pools`: opens the connections of peers that use Postgres, and counts the events that these have stored.
//! - `peer`: the interface of a peer. `mire`, `skilj`, `disintegrate`, `esrs`, `umadb`: one peer each, put together as in its
//!   own documentation. To add one: a file with an `impl Peer`, an entry in `Name`, a row in README.md.
//! - `bin/umadb`: the server of `umadb`.
//!
//! # Invariants, as absences
//! - No setting of Postgres is changed, and no append is counted before its own commit is confirmed.
//! - No peer skips what it does before an append: loading, deciding, validating.
//! - No figure without its events: the run fails if the storage does not contain exactly the confirmed events.

mod disintegrate;
mod esrs;
mod identity;
mod load;
mod mire;
mod peer;
mod pools;
mod skilj;
mod umadb;

use std::io::Write as _;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::load::{Load, Report};

/// The same allocator as the service.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures how fast an event store appends the first events of new streams, one a transaction.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who appends
    peer: Name,

    /// An empty database, or for `umadb` an empty folder
    #[arg(value_name = "DATABASE_URL|FOLDER")]
    storage: String,

    /// How many append at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    writers: u32,

    /// For how long
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Mire,
    Skilj,
    Disintegrate,
    Esrs,
    Umadb,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { peer, storage, writers, seconds } = Arguments::parse();
    let load = Load { storage, writers, time: Duration::from_secs(seconds) };
    let report = match peer {
        Name::Mire => load.run::<mire::Identities>().await,
        Name::Skilj => load.run::<skilj::Identities>().await,
        Name::Disintegrate => load.run::<disintegrate::Identities>().await,
        Name::Esrs => load.run::<esrs::Identities>().await,
        Name::Umadb => load.run::<umadb::Identities>().await,
    }?;
    say(&report)
}

fn say(report: &Report) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, report)?;
    Ok(writeln!(output)?)
}
