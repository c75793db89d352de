//! `identityd audit`.

mod replay;

use std::fs::File;
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use identity_log::proof::{Refusal, SignError};
use identityd::audit::export::{self, Range};
use identityd::audit::form::{Lines, Table};
use identityd::audit::report::Report;
use identityd::audit::verify;
use identityd::database::{Database, IfMissing};
use identityd::operator::Operator;
use identityd::signing::{Replacement, SigningSettings};

use super::output::{Output, is_terminal};
use super::progress::Progress;
use super::{Installation, with_database};
use crate::escape::EscapingLines;

/// The longest file of a checkpoint, in bytes.
const MAX_CHECKPOINT_BYTES: u64 = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write the history of an organization to a file that can be verified
    Export(ExportFlags),
    /// Verify an export; needs neither the service nor the database
    Verify(VerifyFlags),
    /// Show the state of an identity after each of its events, and who caused the event
    Replay(replay::ReplayFlags),
    /// Replace the signing key: the old key introduces the new one. No service may run meanwhile
    RotateKey {
        /// File with the next key, if the present one is a setting: 32 bytes in base64
        #[arg(long, value_name = "FILE")]
        next_key_file: Option<PathBuf>,
    },
    /// Take the checkpoints in the database for the last ones, on a host that has signed nothing yet
    Trust,
    /// Begin a new epoch: sign the present log under a new name, without comparing it with earlier checkpoints
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

    /// Accept a file with events that are not proved, and list them
    #[arg(long)]
    allow_unproved: bool,
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let Installation { database, signing, .. } = installation;
    match command {
        Command::Export(flags) => {
            with_database(database, IfMissing::Refuse, async |database| {
                export(&flags, database, signing).await
            })
            .await
        }
        Command::Verify(flags) => verify(&flags, output),
        Command::Replay(flags) => replay::run(&flags, installation, output).await,
        Command::RotateKey { next_key_file } => {
            with_database(database, IfMissing::Refuse, async |database| {
                rotate_key(next_key_file.as_deref(), database, signing, output).await
            })
            .await
        }
        Command::Trust => {
            with_database(database, IfMissing::Refuse, async |database| {
                trust(database, signing, output).await
            })
            .await
        }
        Command::NewEpoch { org } => {
            with_database(database, IfMissing::Refuse, async |database| {
                new_epoch(&org, database, signing, output).await
            })
            .await
        }
    }
}

async fn export(flags: &ExportFlags, database: &Database, signing: &SigningSettings) -> anyhow::Result<()> {
    database.migrate_if_begun().await?;
    let organization_id =
        Operator::new(database.pool().clone(), signing.clone()).find_organization(&flags.org).await?;
    let refusal = sign(&organization_id, database, signing).await?;
    let range = Range { after: flags.after, until: flags.until };
    let mut file: Box<dyn Write + Send> = match &flags.output {
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)
        }
        None if is_terminal() => Box::new(EscapingLines::new(std::io::stdout())),
        None => Box::new(std::io::stdout()),
    };
    let file = BufWriter::new(&mut file);
    let mut progress = Progress::start("export");
    let reached = |done, total| progress.reached(done, Some(total));
    let (pool, refusal) = (database.pool(), refusal.as_ref());
    match flags.format {
        ExportFormat::Ndjson => {
            export::run(pool, &organization_id, &range, refusal, &mut Lines(file), reached).await?
        }
        ExportFormat::Csv => {
            export::run(pool, &organization_id, &range, refusal, &mut Table::begin(file)?, reached).await?
        }
    };
    progress.finish();
    Ok(())
}

/// If the signing key is available, signs the latest events before the export. A log that the signer refuses is exported
/// to its end with its last checkpoint, since that export shows where the log differs.
async fn sign(
    organization_id: &str,
    database: &Database,
    signing: &SigningSettings,
) -> anyhow::Result<Option<Refusal>> {
    let Some(signer) = signing.existing_signer(database.pool().clone())? else { return Ok(None) };
    match signer.sign(organization_id).await {
        Ok(_) => Ok(None),
        Err(SignError::Refused(refusal)) => {
            tracing::warn!(%refusal, "this log is not signed any more; the export says so, and ends with the log");
            Ok(Some(refusal))
        }
        Err(error) => Err(error).context("cannot sign the latest events"),
    }
}

fn verify(flags: &VerifyFlags, output: Output) -> anyhow::Result<()> {
    let previous = flags.previous.as_deref().map(read).transpose()?;
    let mut progress = Progress::start("verify");
    let verdict =
        verify::file(&flags.file, &flags.key, previous.as_deref(), |done| progress.reached(done, None));
    progress.finish();
    let report = verdict?;
    if let Some(first) = report.unproved.first().filter(|_| !flags.allow_unproved) {
        bail!("{first} (--allow-unproved lets this pass)");
    }
    let unproved: Vec<String> = report.unproved.iter().map(ToString::to_string).collect();
    let json = json!({
        "events": report.events,
        "proved": report.proved,
        "first": report.first,
        "last": report.last,
        "origin": report.checkpoint.origin,
        "successor": report.successor,
        "size": report.checkpoint.size,
        "root_hash": report.checkpoint.root.to_string(),
        "absent": report.absent,
        "unproved": unproved,
        "refused": report.refused,
        "unsigned": report.unsigned,
    });
    output.print_lines(&json, &words(&report))
}

/// The proved events first, then the events that are not proved.
fn words(report: &Report) -> Vec<String> {
    let size = report.checkpoint.size;
    let mut lines = match report.events {
        0 if report.after == size => {
            vec![format!("no events in this range: event {size} is the last one signed")]
        }
        0 => vec!["no events in this range, says whoever wrote this file: that is not proved".to_owned()],
        _ => vec![format!("{} events verified against the checkpoint of {size} events", report.proved)],
    };
    if report.proved > 0 {
        let (first, last) = (report.after + 1, report.after + report.proved);
        let end = if last == size { ", and the checkpoint ends with the last" } else { "" };
        lines
            .push(format!("events {first} to {last} are what was signed, none between them is missing{end}"));
    }
    if let Some(key) = &report.successor {
        lines.push(format!("the checkpoint is signed with a key that the given one introduced: {key}"));
    }
    let absent = report.absent.iter().filter(|_| report.events > 0);
    lines.extend(absent.map(|(first, last)| format!("not in this file: events {first} to {last}")));
    lines.extend(report.unproved.iter().map(|what| format!("not verified: {what}")));
    if report.unsigned > 0 {
        lines.push(format!(
            "not in this file: {} events that were not signed when it was written",
            report.unsigned
        ));
    }
    lines
}

/// The text of a checkpoint, which is a few lines.
fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_CHECKPOINT_BYTES + 1).read_to_string(&mut text));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(text.len() as u64 <= MAX_CHECKPOINT_BYTES, "{} is too long for a checkpoint", path.display());
    Ok(text)
}

async fn rotate_key(
    next: Option<&Path>,
    database: &Database,
    signing: &SigningSettings,
    output: Output,
) -> anyhow::Result<()> {
    database.migrate_if_begun().await?;
    let Replacement { logs, key, introduction } = signing.replace_key(database.pool(), next).await?;
    let mut lines = vec![format!("the new key has signed {logs} logs"), format!("key {key}")];
    lines.extend(next.map(|file| format!("set {} as the signing key from now on", file.display())));
    lines.push("keep the introduction, which leads auditors from the old key to the new one:".to_owned());
    lines.extend(introduction.lines().map(ToOwned::to_owned));
    output.print_lines(&json!({ "logs": logs, "key": key, "introduction": introduction }), &lines)
}

async fn trust(database: &Database, signing: &SigningSettings, output: Output) -> anyhow::Result<()> {
    database.migrate_if_begun().await?;
    let signer = signing.existing_signer(database.pool().clone())?;
    let signer = signer.context("there is no signing key here: a host signs with the key of the others")?;
    let logs = signer.trust().await?;
    output.print_lines(&json!({ "logs": logs }), &[format!("{logs} logs go on from their last checkpoints")])
}

async fn new_epoch(
    org: &str,
    database: &Database,
    signing: &SigningSettings,
    output: Output,
) -> anyhow::Result<()> {
    database.migrate_if_begun().await?;
    let organization_id =
        Operator::new(database.pool().clone(), signing.clone()).find_organization(org).await?;
    let signer = signing.signer(database.pool().clone())?;
    let begun = signer.begin_epoch(&organization_id).await?;
    let begun = begun.context("this history has no events")?;
    let key = signer.key().verifier_key(&begun.checkpoint.origin);
    let (epoch, size) = (begun.epoch, begun.checkpoint.size);
    let lines = [format!("epoch {epoch} begins with {size} events"), format!("key {key}")];
    output.print_lines(&json!({ "epoch": epoch, "size": size, "key": key }), &lines)
}
