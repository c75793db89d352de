//! `identityd audit`.

mod replay;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use identity_audit::command::VerifyFlags;
use identity_log::proof::memory::MemoryError;
use identity_log::proof::rotation::name_in_place_of_lost_key;
use identity_log::proof::{Refusal, SignError};
use identity_terminal::escape::EscapingLines;
use identityd::audit::export::{self, Range};
use identityd::audit::form::{Lines, Table};
use identityd::database::{Database, IfMissing};
use identityd::operator::Operator;
use identityd::signing::{Replacement, SigningSettings};
use identityd::unfinished::Unfinished;

use super::output::{Output, is_terminal};
use super::progress::Progress;
use super::{Installation, with_database};

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
    /// Take the checkpoints in the database for the last ones that were signed, if the memory of the signer is empty
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

    /// File to write; it must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportFormat {
    Ndjson,
    Csv,
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
    let unfinished = flags.output.as_deref().map(Unfinished::create).transpose()?;
    database.migrate_if_begun().await?;
    let organization_id =
        Operator::new(database.pool().clone(), signing.clone()).find_organization(&flags.org).await?;
    let refusal = sign(&organization_id, database, signing).await?;
    // An event that cannot be hashed cannot be exported either.
    let is_in_range = |sequence| flags.after < sequence && flags.until.is_none_or(|until| sequence <= until);
    let prevents_export = |refusal: &&Refusal| match refusal {
        Refusal::UnreadableNote => true,
        Refusal::Unhashable { sequence } => is_in_range(*sequence),
        _ => false,
    };
    if let Some(refusal) = refusal.as_ref().filter(prevents_export) {
        bail!("nothing can be exported: {refusal}. {}", refusal.remedy(&organization_id));
    }
    let range = Range { after: flags.after, until: flags.until };
    let mut progress = Progress::start("export");
    let reached = |done, total| progress.reached(done, Some(total));
    let (pool, refusal) = (database.pool(), refusal.as_ref());
    let output = BufWriter::new(output_of(unfinished.as_ref()));
    match flags.format {
        ExportFormat::Ndjson => {
            export::run(pool, &organization_id, &range, refusal, &mut Lines(output), reached).await?
        }
        ExportFormat::Csv => {
            export::run(pool, &organization_id, &range, refusal, &mut Table::begin(output)?, reached).await?
        }
    };
    progress.finish();
    unfinished.map_or(Ok(()), Unfinished::finish)
}

/// Where an export is written.
fn output_of(file: Option<&Unfinished>) -> Box<dyn Write + Send + '_> {
    match file {
        Some(unfinished) => Box::new(unfinished.file()),
        None if is_terminal() => Box::new(EscapingLines::new(std::io::stdout())),
        None => Box::new(std::io::stdout()),
    }
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
        Err(SignError::Memory(MemoryError::Away(_))) => {
            tracing::warn!(
                "the latest events are not signed, since the memory of the signer does not answer"
            );
            Ok(None)
        }
        Err(error) => Err(error).context("cannot sign the latest events"),
    }
}

fn verify(flags: &VerifyFlags, output: Output) -> anyhow::Result<()> {
    let mut progress = Progress::start("verify");
    let verdict = flags.verify(|done| progress.reached(done, None));
    progress.finish();
    flags.print(&verdict?, output)
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
    let json = json!({ "logs": logs, "key": key, "introduction": introduction });
    output.print_lines(&json, &lines).with_context(|| {
        format!(
            "the signing key was replaced by {key}, but its introduction could not be shown; exports have it"
        )
    })
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
    let signer = signing.existing_signer(database.pool().clone())?.with_context(|| {
        format!(
            "there is no signing key in {}: an epoch begins with the key of the service; give its --data-dir or \
             --signing-key-file (if it is lost, see docs/proof.md, \"A lost signing key\")",
            signing.folder().display()
        )
    })?;
    name_in_place_of_lost_key(database.pool(), signer.key()).await?;
    let begun = signer.begin_epoch(&organization_id).await?;
    let begun = begun.context("this history has no events")?;
    let key = signer.key().verifier_key(&begun.checkpoint.origin);
    let (epoch, size) = (begun.epoch, begun.checkpoint.size);
    let lines = [format!("epoch {epoch} begins with {size} events"), format!("key {key}")];
    let json = json!({ "epoch": epoch, "size": size, "key": key });
    output
        .print_lines(&json, &lines)
        .with_context(|| format!("epoch {epoch} has begun, but that could not be shown"))
}
