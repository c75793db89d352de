//! `identityd audit`.

mod progress;
mod replay;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use identityd::audit::export::{self, Range};
use identityd::audit::form::{Lines, Table};
use identityd::audit::verify::{self, Report};
use identityd::database::Database;
use identityd::migrations;
use identityd::operator::Operator;
use identityd::settings::DatabaseSettings;
use identityd::signing::SigningSettings;

use super::output::Output;
use super::with_database;
use progress::Progress;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write the history of an organization to a file that proves itself
    Export(ExportFlags),
    /// Verify an export; needs neither the service nor the database
    Verify(VerifyFlags),
    /// Show what an identity was after each of its events, and who made it so
    Replay(replay::ReplayFlags),
    /// Sign the log as it stands, whatever was signed before, under a new name
    NewEpoch {
        /// Id or name of the organization
        #[arg(long)]
        org: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ExportFlags {
    /// Id or name of the organization
    #[arg(long)]
    org: String,

    /// Only events after this organization sequence
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,

    /// Only events up to this organization sequence
    #[arg(long, value_name = "SEQUENCE")]
    until: Option<u64>,

    /// Lines of JSON, which can be verified, or a table for spreadsheets
    #[arg(long, value_enum, default_value = "ndjson")]
    format: ExportFormat,

    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportFormat {
    Ndjson,
    Csv,
}

#[derive(Debug, Args)]
pub(super) struct VerifyFlags {
    /// The export
    file: PathBuf,

    /// Verifier key of the history, as `GET /api/v1/log/key` gives it
    #[arg(long, value_name = "VKEY")]
    key: String,

    /// File with an earlier checkpoint of the same history
    #[arg(long, value_name = "CHECKPOINT")]
    previous: Option<PathBuf>,
}

pub(super) async fn run(
    command: Command,
    database: &DatabaseSettings,
    signing: &SigningSettings,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        Command::Export(flags) => {
            with_database(database, async |database| export(&flags, database, signing).await).await
        }
        Command::Verify(flags) => verify(&flags, output),
        Command::Replay(flags) => replay::run(&flags, database, output).await,
        Command::NewEpoch { org } => {
            with_database(database, async |database| new_epoch(&org, database, signing, output).await).await
        }
    }
}

async fn export(flags: &ExportFlags, database: &Database, signing: &SigningSettings) -> anyhow::Result<()> {
    migrations::run(database.pool()).await?;
    let organization_id = Operator::new(database.pool().clone()).find_organization(&flags.org).await?;
    sign(&organization_id, database, signing).await?;
    let range = Range { after: flags.after, until: flags.until };
    let mut file: Box<dyn Write + Send> = match &flags.output {
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let file = BufWriter::new(&mut file);
    let mut progress = Progress::start("export");
    let reached = |done, total| progress.reached(done, Some(total));
    match flags.format {
        ExportFormat::Ndjson => {
            export::run(database.pool(), &organization_id, &range, &mut Lines(file), reached).await?
        }
        ExportFormat::Csv => {
            export::run(database.pool(), &organization_id, &range, &mut Table::begin(file)?, reached).await?
        }
    };
    progress.finish();
    Ok(())
}

/// Where the signing key is at hand, what was committed last is signed first. A log that is refused is exported all
/// the same, with what was signed before: that is what shows where it differs.
async fn sign(organization_id: &str, database: &Database, signing: &SigningSettings) -> anyhow::Result<()> {
    if let Some(signer) = signing.existing_signer(database.pool().clone())?
        && let Err(error) = signer.sign(organization_id).await
    {
        tracing::warn!(%error, "this log is not signed any more, exporting what was signed before");
    }
    Ok(())
}

fn verify(flags: &VerifyFlags, output: Output) -> anyhow::Result<()> {
    let previous = flags.previous.as_deref().map(read).transpose()?;
    let mut progress = Progress::start("verify");
    let verdict =
        verify::file(&flags.file, &flags.key, previous.as_deref(), |done| progress.reached(done, None));
    progress.finish();
    let Report { events, first, last, checkpoint, unverified } = verdict?;
    let mut text = format!("{events} events verified against the checkpoint of {} events", checkpoint.size);
    for what in &unverified {
        text = format!("{text}\nnot verified: {what}");
    }
    let json = json!({
        "events": events,
        "first": first,
        "last": last,
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root_hash": checkpoint.root.to_string(),
        "unverified": unverified,
    });
    output.print(&json, &text)
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

async fn new_epoch(
    org: &str,
    database: &Database,
    signing: &SigningSettings,
    output: Output,
) -> anyhow::Result<()> {
    migrations::run(database.pool()).await?;
    let organization_id = Operator::new(database.pool().clone()).find_organization(org).await?;
    let signer = signing.signer(database.pool().clone())?;
    let begun = signer.begin_epoch(&organization_id).await?;
    let begun = begun.context("this history has no events")?;
    let key = signer.key().verifier_key(&begun.checkpoint.origin);
    let text = format!("epoch {} begins with {} events\nkey {key}", begun.epoch, begun.checkpoint.size);
    output.print(&json!({ "epoch": begun.epoch, "size": begun.checkpoint.size, "key": key }), &text)
}
