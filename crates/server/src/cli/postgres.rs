//! `identityd postgres`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use identity_log::proof::key_lock;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::spawn_blocking;

use identity_postgres::PrivatePostgres;
use identity_postgres::stop::Stop;
use identity_postgres::upgrade::{Plan, Upgrade};
use identityd::backup::take;
use identityd::database::{self, Database, IfMissing, MAX_SILENCE};
use identityd::settings::{DatabaseSettings, Urls};

use super::interruption::{Hangup, Interruption};
use super::output::Output;
use super::progress::Progress;
use super::restore::{self, RestoreFlags};
use super::{Installation, bailed_out};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Move the data of the private Postgres to another major version, which is installed beside the old one
    Upgrade {
        /// To this major version; without it, to the newest that is installed
        #[arg(long, value_name = "MAJOR")]
        to: Option<u32>,
    },
}

pub(super) async fn run(command: Command, installation: &Installation, output: Output) -> anyhow::Result<()> {
    let Command::Upgrade { to } = command;
    let DatabaseSettings::Private(data_dir) = &installation.database else {
        bail!(
            "the database is given by a URL: upgrade that Postgres as its manual says, or move to another one (docs/backup.md)"
        )
    };
    database::refuse_missing(data_dir)?;
    let mut interruption = Interruption::listen(Hangup::Stops)?;
    match upgrade(data_dir, to, installation, &mut interruption, output).await {
        Err(_) if interruption.stop().is_told() => bailed_out(),
        outcome => outcome,
    }
}

async fn upgrade(
    data_dir: &Path,
    to: Option<u32>,
    installation: &Installation,
    interruption: &mut Interruption,
    output: Output,
) -> anyhow::Result<()> {
    let (data_dir, stop) = (data_dir.to_owned(), interruption.stop());
    let upgrade = match spawn_blocking(move || Upgrade::plan(&data_dir, to, stop)).await?? {
        Plan::Nothing(major) => return say_nothing_to_do(major, output),
        Plan::Upgrade(upgrade) => Arc::new(upgrade),
    };
    let moved = move_data(&upgrade, installation, interruption, output).await?;
    let kept = blocking(&upgrade, Upgrade::finish).await?;
    report(&upgrade, &kept, moved, output)
}

/// Copies the data from the old cluster to the new one. Both servers are stopped in the end.
async fn move_data(
    upgrade: &Arc<Upgrade>,
    installation: &Installation,
    interruption: &mut Interruption,
    output: Output,
) -> anyhow::Result<(Value, Vec<String>)> {
    let url = blocking(upgrade, Upgrade::start_old).await?;
    let alone = tokio::select! {
        taken = take_backup(upgrade, url.into(), interruption.stop()) => taken?,
        () = interruption.arrives() => return bailed_out(),
    };
    blocking(upgrade, Upgrade::stop_old).await?;
    drop(alone);
    let flags = RestoreFlags::of_everything(upgrade.backup());
    restore::verify(&flags, installation).with_context(|| {
        let from = upgrade.from();
        format!("the data stays with Postgres {from}, and can be moved by `identityd backup` and `identityd restore`")
    })?;
    let new = blocking(upgrade, Upgrade::open_new).await?;
    let moved = fill(&new, &flags, installation, (interruption, output)).await;
    let closed = spawn_blocking(|| new.close()).await?;
    moved.and_then(|moved| closed.map(|()| moved))
}

/// Takes a backup of the old database. The connection that is returned keeps services away until the server is stopped: one that
/// was given the URL of this database does not ask for the lock of the data directory.
async fn take_backup(upgrade: &Upgrade, url: SecretString, stop: Stop) -> anyhow::Result<PgConnection> {
    let database = Database::open(&as_owner(url), IfMissing::Refuse, stop).await?;
    let alone = database.unless_silent(MAX_SILENCE, take_alone(upgrade, &database)).await?;
    database.close().await?;
    Ok(alone)
}

async fn take_alone(upgrade: &Upgrade, database: &Database) -> anyhow::Result<PgConnection> {
    database.migrate().await?;
    let options = database::options(&database.urls().service)?;
    let mut alone = PgConnection::connect_with(&options).await?;
    ensure!(
        key_lock::lock_exclusively(&mut alone).await?,
        "a service is running on this database: stop it first"
    );
    let size = "select pg_database_size(current_database())";
    let bytes: i64 = sqlx::query_scalar(size).fetch_one(&mut alone).await?;
    upgrade.check_space(u64::try_from(bytes)?)?;
    let mut progress = Progress::start("backup");
    take::run(&options, &upgrade.backup(), |done, total| progress.reached(done, Some(total))).await?;
    progress.finish();
    Ok(alone)
}

async fn fill(
    new: &PrivatePostgres,
    flags: &RestoreFlags,
    installation: &Installation,
    (interruption, output): (&mut Interruption, Output),
) -> anyhow::Result<(Value, Vec<String>)> {
    let database =
        Database::open(&as_owner(new.url().into()), IfMissing::Create, interruption.stop()).await?;
    let filling = Box::pin(restore::restore(flags, installation, (&database, interruption), output));
    let moved = database.unless_silent(MAX_SILENCE, filling).await;
    let closed = database.close().await;
    moved.and_then(|moved| closed.map(|()| moved))
}

/// The role that serves gets its rights at the next start of the service.
fn as_owner(url: SecretString) -> DatabaseSettings {
    DatabaseSettings::Url(Urls { service: url, owner: None })
}

/// Runs a step that blocks.
async fn blocking<T: Send + 'static>(
    upgrade: &Arc<Upgrade>,
    step: fn(&Upgrade) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let upgrade = Arc::clone(upgrade);
    spawn_blocking(move || step(&upgrade)).await?
}

fn say_nothing_to_do(major: u32, output: Output) -> anyhow::Result<()> {
    let line = format!(
        "nothing to do: the private Postgres is of version {major}, and no newer one was asked for or is installed"
    );
    output.print(&json!({ "from": major, "to": major }), &line)
}

fn report(
    upgrade: &Upgrade,
    kept: &Path,
    (moved, mut lines): (Value, Vec<String>),
    output: Output,
) -> anyhow::Result<()> {
    let (from, to) = (upgrade.from(), upgrade.to());
    lines.push(format!(
        "the private Postgres is of version {to} now; settings of its own postgresql.conf are those of a new one"
    ));
    lines.push(format!(
        "the data of Postgres {from} is kept in {}: remove it when you have seen the service at work",
        kept.display()
    ));
    output.print_lines(&json!({ "from": from, "to": to, "kept": kept, "restored": moved }), &lines)
}
