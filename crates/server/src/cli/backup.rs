//! `identityd backup`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use serde_json::json;

use identityd::backup::take;
use identityd::backup::verify::{self, Verified};
use identityd::database::{self, Database, IfMissing};

use super::output::Output;
use super::progress::Progress;
use super::{Installation, with_database};

/// How many faults are named.
const MAX_FAULTS: usize = 20;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct BackupFlags {
    /// File to write; it must not be there yet
    #[arg(required = true)]
    file: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify a backup; needs neither the service nor a database
    Verify {
        /// The backup
        file: PathBuf,

        /// Verifier key of one of its histories, as `GET /api/v1/log/key` gives it: signatures are checked, too
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
}

pub(super) async fn run(
    flags: BackupFlags,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    match flags.command {
        Some(Command::Verify { file, key }) => verify(&file, key.as_deref(), output),
        None => {
            let file = flags.file.context("name the file to write")?;
            with_database(&installation.database, IfMissing::Refuse, async |database| {
                take(&file, database, installation, output).await
            })
            .await
        }
    }
}

async fn take(
    file: &Path,
    database: &Database,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    let mut progress = Progress::start("backup");
    let options = database::options(&database.urls().service)?;
    let (head, end) = take::run(&options, file, |done, total| progress.reached(done, Some(total))).await?;
    progress.finish();
    let (signing, secrets) = (installation.signing.folder(), installation.secrets.file());
    let lines = [
        format!("{} events of {} organizations are in {}", head.events, head.organizations, file.display()),
        format!("sha256 {}", end.sha256),
        format!(
            "not in it: the signing key with its memory ({}), without which the restored logs begin new epochs under another key",
            signing.display()
        ),
        format!(
            "not in it: the secrets key ({}), without which signing keys of identities and tokens of webhooks cannot be opened",
            secrets.display()
        ),
        "keep copies of both apart from this file: together they open everything".to_owned(),
    ];
    let json = json!({
        "file": file, "sha256": end.sha256, "taken_at": head.taken_at, "software": head.software,
        "organizations": head.organizations, "events": head.events, "rows": head.rows,
        "not_included": { "signing_key": signing, "secrets_key": secrets },
    });
    output.print_lines(&json, &lines)
}

fn verify(file: &Path, key: Option<&str>, output: Output) -> anyhow::Result<()> {
    let mut progress = Progress::start("verify");
    let verified = verify::file(file, key, |done, total| progress.reached(done, Some(total)));
    progress.finish();
    let verified = verified?;
    output.print_lines(&as_json(&verified), &words(&verified))?;
    let faults = verified.faults.len();
    ensure!(faults == 0, "{faults} faults in histories");
    Ok(())
}

fn as_json(verified: &Verified) -> serde_json::Value {
    let Verified { head, sha256, organizations, faults, are_signatures_checked, .. } = verified;
    let organizations: Vec<_> = organizations
        .iter()
        .map(|one| json!({ "id": one.id, "events": one.events, "proved": one.proved, "epoch": one.epoch }))
        .collect();
    let faults: Vec<_> =
        faults.iter().map(|(id, what)| json!({ "organization": id, "what": what })).collect();
    json!({
        "sha256": sha256, "taken_at": head.taken_at, "software": head.software, "events": head.events,
        "rows": head.rows, "organizations": organizations, "faults": faults, "signatures": are_signatures_checked,
    })
}

fn words(verified: &Verified) -> Vec<String> {
    let Verified { head, sha256, organizations, .. } = verified;
    let proved: u64 = organizations.iter().map(|one| one.proved).sum();
    let signatures =
        if verified.are_signatures_checked { "checked" } else { "not checked, since no --key is given" };
    let mut lines = vec![
        format!(
            "taken {} by identityd {}: every byte is the one that was written",
            head.taken_at, head.software
        ),
        format!("sha256 {sha256}"),
        format!("{} events of {} organizations", head.events, head.organizations),
        format!("{proved} of them are what was signed, none is missing; signatures are {signatures}"),
    ];
    if head.events > proved {
        lines.push(format!(
            "{} were not signed when the backup was taken, or are in a history with a fault",
            head.events - proved
        ));
    }
    lines.extend(named(&verified.faults));
    lines
}

/// The first faults, one a line.
pub(super) fn named(faults: &[(String, String)]) -> Vec<String> {
    let named =
        faults.iter().take(MAX_FAULTS).map(|(id, what)| format!("fault in the history of {id}: {what}"));
    let more = faults.len().checked_sub(MAX_FAULTS + 1).map(|more| format!("and {} more", more + 1));
    named.chain(more).collect()
}
