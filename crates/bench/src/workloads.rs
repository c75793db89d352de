//! The workloads, in the order of their importance.

mod append;
mod changes;
mod create;
mod export;
mod get;
mod growth;
mod list;
mod mixed;
mod rebuild;
mod revocation;

use clap::ValueEnum;

use crate::arena::{Arena, Server};
use crate::results::Results;
use crate::scale::Scale;
use crate::stock;

/// Names of workloads on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Creates over 1 to 128 connections.
    Create,
    /// Gets by handle, uniform and Zipf.
    Get,
    /// The whole list of one organization, and pages of it.
    List,
    /// Ninety gets in a hundred, and changes.
    Mixed,
    /// Renames, grants, deletes.
    Changes,
    /// What was revoked, on another process.
    Revocation,
    /// A read model from a long log.
    Rebuild,
    /// History as lines, verified, and as of a moment that has passed.
    Export,
    /// Appends beside other event stores.
    Append,
    /// Creates and gets as the data grows, memory, and the time until the service answers.
    Growth,
}

impl Workload {
    /// Measures it.
    pub(crate) async fn run(self, arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
        match self {
            Self::Create => create::run(arena, scale, results).await,
            Self::Get => get::run(arena, scale, results).await,
            Self::List => list::run(arena, scale, results).await,
            Self::Mixed => mixed::run(arena, scale, results).await,
            Self::Changes => changes::run(arena, scale, results).await,
            Self::Revocation => revocation::run(arena, scale, results).await,
            Self::Rebuild => rebuild::run(arena, scale, results).await,
            Self::Export => export::run(arena, scale, results).await,
            Self::Append => append::run(arena, scale, results).await,
            Self::Growth => growth::run(arena, scale, results).await,
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
