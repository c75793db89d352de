//! `identityd numbers`.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use identity_terminal::input;
use serde_json::json;

use identityd::database::IfMissing;
use identityd::numbers::NumberFile;
use identityd::settings::DatabaseSettings;

use super::output::Output;
use super::with_database;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add the numbers of a file to the pool: all of them, or none if there is a bad line
    Load {
        /// One number and its state a line, such as `+12125550100 NY`; a `#` begins a comment
        file: PathBuf,
    },
}

pub(super) async fn run(command: Command, database: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Load { file } => load(&file, database, output).await,
    }
}

async fn load(file: &Path, database: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    let opened = input::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let context = || format!("cannot load {}", file.display());
    let numbers = NumberFile::read(BufReader::new(opened)).with_context(context)?;
    let loading = with_database(database, IfMissing::Refuse, async |database| {
        database.migrate_if_begun().await?;
        numbers.load(database.pool()).await
    });
    let loaded = loading.await.with_context(context)?;
    output.print(&json!({ "loaded": loaded }), &format!("loaded {loaded} numbers"))
}
