//! `identityd restore`.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use identity_log::count::EventCounts;
use identity_log::proof::signer::Signer;
use identity_projections::{rebuild, tables};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use identityd::backup::proofs::{self, Continuation, Word};
use identityd::backup::restore::{self, Restoring};
use identityd::backup::verify::{self, Verified};
use identityd::backup::verifying::Backup;
use identityd::database::{Database, IfMissing};

use super::backup::named;
use super::interruption::Interruption;
use super::output::Output;
use super::progress::Progress;
use super::projections::Rebuilding;
use super::{Installation, with_database_until};

/// How many ranges of the log are folded at the same time.
const WORKERS: usize = 4;

#[derive(Debug, Args)]
pub(super) struct RestoreFlags {
    /// The backup
    file: PathBuf,

    /// The service that was backed up has written nothing since, and never will: its logs go on in the same epochs
    #[arg(long)]
    nothing_lost: bool,

    /// The signing key of the backup is lost or was replaced since: go on with the one that is set, or with a new one
    #[arg(long, conflicts_with = "nothing_lost")]
    other_signing_key: bool,

    /// Restore histories that are not what was signed, as they are. They begin no new epoch, and exports of them are not verified
    #[arg(long)]
    allow_faults: bool,
}

impl RestoreFlags {
    /// A backup with all that was ever written.
    pub(super) fn of_everything(file: PathBuf) -> Self {
        Self { file, nothing_lost: true, other_signing_key: false, allow_faults: false }
    }

    fn word(&self) -> Word {
        match (self.nothing_lost, self.other_signing_key) {
            (true, _) => Word::NothingLost,
            (_, true) => Word::OtherKey,
            _ => Word::PerhapsLost,
        }
    }
}

pub(super) async fn run(
    flags: RestoreFlags,
    installation: &Installation,
    output: Output,
) -> anyhow::Result<()> {
    key(&flags, installation)?;
    verify::check_head(&flags.file)?;
    with_database_until(&installation.database, IfMissing::Create, async |database, interruption| {
        let restored = Box::pin(restore(&flags, installation, (database, interruption), output)).await;
        let (json, lines) = restored?;
        output.print_lines(&json, &lines)
    })
    .await
}

/// Verifies the whole file, without a database.
pub(super) fn verify(flags: &RestoreFlags, installation: &Installation) -> anyhow::Result<()> {
    let key = key(flags, installation)?;
    let mut progress = Progress::start("verify");
    let verified =
        verify::file(&flags.file, key.as_deref(), |done, total| progress.reached(done, Some(total)));
    progress.finish();
    accept(&verified?, flags, installation)
}

/// The key that must have signed the checkpoints of the backup; `None` if any key may have signed them.
fn key(flags: &RestoreFlags, installation: &Installation) -> anyhow::Result<Option<String>> {
    if flags.other_signing_key { Ok(None) } else { signing_key(installation).map(Some) }
}

/// Fails if this backup is not to be restored, although every byte is the one that was written.
fn accept(verified: &Verified, flags: &RestoreFlags, installation: &Installation) -> anyhow::Result<()> {
    refuse_replaced(verified, installation)?;
    ensure!(
        verified.faults.is_empty() || flags.allow_faults,
        "{} (if the signing key is another one than that of the backup, see --other-signing-key; --allow-faults restores a history \
         as it is)",
        named(&verified.faults).join("; ")
    );
    Ok(())
}

/// A key that was replaced signs nothing any more. With `--other-signing-key`, too, there may be one.
fn refuse_replaced(verified: &Verified, installation: &Installation) -> anyhow::Result<()> {
    let key = installation.signing.verifier_key()?;
    ensure!(
        key.is_none_or(|key| !verified.is_replaced(&key)),
        "the signing key in {} was replaced before the backup was taken: put the one there that replaced it, with its memory; if it \
         is lost, give a folder without a key and --other-signing-key",
        installation.signing.folder().display()
    );
    Ok(())
}

fn signing_key(installation: &Installation) -> anyhow::Result<String> {
    installation.signing.verifier_key()?.with_context(|| {
        format!(
            "there is no signing key in {}: put the folder `signing` of the service that was backed up there; if it is lost, \
             --other-signing-key makes a new key",
            installation.signing.folder().display()
        )
    })
}

/// Fills an empty database. Returns what there is to say of it.
pub(super) async fn restore(
    flags: &RestoreFlags,
    installation: &Installation,
    (database, interruption): (&Database, &mut Interruption),
    output: Output,
) -> anyhow::Result<(Value, Vec<String>)> {
    database.check_roles().await?;
    let owner = database.owner().await?;
    let options = restore::without_waiting(&owner.connect_options());
    let owner =
        PgPoolOptions::new().connect_with(options.clone()).await.context("cannot connect as the owner")?;
    let mut restoring = Restoring::begin(&options).await?;
    let mut progress = Progress::start("restore");
    let reached = |done, total| progress.reached(done, Some(total));
    let key = key(flags, installation)?;
    let backup = Backup { path: &flags.file, key: key.as_deref() };
    let accepting = |verified: &Verified| accept(verified, flags, installation);
    let verified = tokio::select! {
        loaded = restoring.load(&owner, backup, accepting, reached) => loaded?,
        () = interruption.arrives() => bail!("interrupted"),
    };
    progress.finish();
    database.grant().await?;
    rebuild_read_models(&verified.counts, &options, interruption, output).await?;
    // The restore itself decides which checkpoints are trusted, by the word of the operator.
    let signer = installation.signing.any_signer(database.pool().clone())?.trusting_checkpoints(true);
    if flags.other_signing_key {
        restoring.change_key(&signer.key().introduced_name()).await?;
    }
    let logs = go_on(flags, &verified, database, &signer).await?;
    let secrets = secrets(installation, database).await?;
    restoring.finish().await?;
    Ok(report(&verified, flags.word(), &logs, &secrets))
}

/// Rebuilds every read model. That of identities is most often the largest one, so the others are rebuilt beside it.
async fn rebuild_read_models(
    counts: &EventCounts,
    options: &PgConnectOptions,
    interruption: &Interruption,
    output: Output,
) -> anyhow::Result<()> {
    let settings = rebuild::Settings { workers: WORKERS, cut_over: true };
    let rebuilding = Rebuilding::new(options, settings, output);
    let (identities, others): (Vec<_>, Vec<_>) =
        tables().into_iter().partition(|table| table.name() == "identities");
    // No rebuild is cancelled if another one fails.
    let (identities, others) = tokio::join!(
        rebuilding.run(&identities, counts.clone(), interruption.stop()),
        rebuilding.run(&others, counts.clone(), interruption.stop()),
    );
    match (identities, others) {
        (Err(first), Err(second)) => Err(second.context(format!("{first:#}"))),
        (identities, others) => identities.and(others),
    }
}

async fn go_on(
    flags: &RestoreFlags,
    verified: &Verified,
    database: &Database,
    signer: &Signer,
) -> anyhow::Result<Vec<(String, Continuation)>> {
    let mut logs = vec![];
    for organization in verified.organizations.iter().filter(|one| one.events > 0) {
        let going_on = match verified.fault_of(&organization.id) {
            Some(fault) => Ok(Continuation::Refused(format!("its history has a fault: {fault}"))),
            None => proofs::go_on(database.pool(), signer, organization, flags.word()).await,
        };
        let context = || format!("cannot check the log of {}", organization.id);
        logs.push((organization.id.clone(), going_on.with_context(context)?));
    }
    Ok(logs)
}

/// Whether the secrets key opens what was restored. The service does not start without it, and says what to do.
async fn secrets(installation: &Installation, database: &Database) -> anyhow::Result<String> {
    let mut connection = database.pool().acquire().await?;
    let examined = installation.secrets.examine(&mut connection).await;
    Ok(examined.unwrap_or_else(|error| format!("{error:#}")))
}

fn report(
    verified: &Verified,
    word: Word,
    logs: &[(String, Continuation)],
    secrets: &str,
) -> (Value, Vec<String>) {
    let (head, uncovered) = (&verified.head, verified.uncovered());
    let mut lines = vec![format!(
        "restored: {} events of {} organizations, as they were at {}",
        head.events, head.organizations, head.taken_at
    )];
    lines.extend(said_of_uncovered(uncovered, word));
    lines.extend(said_of_logs(logs));
    lines.push(format!("secrets key: {secrets}"));
    let logs: Vec<_> = logs.iter().map(|(id, going_on)| as_json(id, going_on)).collect();
    let json = json!({
        "sha256": verified.sha256, "taken_at": head.taken_at, "organizations": head.organizations,
        "events": head.events, "rows": head.rows, "uncovered": uncovered, "logs": logs, "secrets_key": secrets,
    });
    (json, lines)
}

/// What shows who wrote the events that were not signed when the backup was taken.
fn said_of_uncovered(events: u64, word: Word) -> Option<String> {
    let seals = match word {
        Word::OtherKey => {
            "nothing shows who wrote them, since only the earlier signing key can check their seals"
        }
        Word::PerhapsLost | Word::NothingLost => {
            "a log is signed only if the signing key has sealed each of them"
        }
    };
    (events > 0).then(|| format!("{events} events are behind the last checkpoints of the backup: {seals}"))
}

/// What the operator has to know of the logs.
fn said_of_logs(logs: &[(String, Continuation)]) -> Vec<String> {
    let begun: Vec<&str> = logs
        .iter()
        .filter(|(_, going_on)| matches!(going_on, Continuation::New { .. }))
        .map(|(id, _)| id.as_str())
        .collect();
    let mut lines = vec![];
    if !begun.is_empty() {
        lines.push(format!(
            "{} logs begin a new epoch, since events may have been signed that this backup does not have; auditors get the new keys \
             with GET /api/v1/log/key: {}",
            begun.len(),
            begun.join(" ")
        ));
    }
    for (id, going_on) in logs {
        if let Continuation::Refused(refusal) = going_on {
            lines.push(format!(
                "the restore has not signed the log of {id}: {refusal}; find out which history is the right one, then run \
                 `identityd audit new-epoch --org {id}` before a service is started"
            ));
        }
    }
    lines
}

fn as_json(id: &str, going_on: &Continuation) -> Value {
    match going_on {
        Continuation::Same => json!({ "organization": id, "epoch": "same" }),
        Continuation::New { epoch } => json!({ "organization": id, "epoch": epoch }),
        Continuation::Refused(refusal) => json!({ "organization": id, "refused": refusal }),
    }
}
