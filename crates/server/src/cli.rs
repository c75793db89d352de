//! The commands and their flags. Each command has a module.
//!
//! A command opens the database, does one thing and closes the database again. The work itself is in the library.

mod access;
mod audit;
mod backup;
mod comparison;
mod deliveries;
mod demo;
mod doctor;
mod expiry;
mod identity;
mod interruption;
mod key;
mod manual;
mod migrate;
mod numbers;
mod openapi;
mod org;
mod output;
mod postgres;
mod progress;
mod projections;
mod restore;
mod serve;
mod supervisor;
mod table;
mod webhooks;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tracing::level_filters::LevelFilter;

use identityd::database::{Database, IfMissing, MAX_SILENCE};
use identityd::operator::Operator;
use identityd::secrets_key::SecretsSettings;
use identityd::settings::{
    DatabaseFlags, DatabaseSettings, SecretsFlags, ServeFlags, ServeSettings, SettingsFile, SigningFlags,
};
use identityd::signing::SigningSettings;
use identityd::traces::Traces;

use crate::logging;
use interruption::{Hangup, Interruption};
use output::Output;

/// A self-hosted Agent identity API.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    signing: SigningFlags,
    #[command(flatten)]
    secrets: SecretsFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct CommonFlags {
    /// Print JSON, one value a line
    #[arg(long, global = true)]
    json: bool,

    /// TOML file with settings that neither flags nor environment give
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How log lines look
    #[arg(long, global = true, env = "IDENTITYD_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: logging::Format,

    /// Base URL of a collector to which traces of requests are sent over OTLP, such as `http://localhost:4318`
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service until it is told to stop
    Serve {
        #[command(flatten)]
        flags: Box<ServeFlags>,

        /// Create the organization `demo` if there is none, and print how to try it
        #[arg(long)]
        demo: bool,
    },
    /// Bring the database up to date
    Migrate,
    /// Organizations
    #[command(subcommand)]
    Org(org::Command),
    /// API keys
    #[command(subcommand)]
    Key(key::Command),
    /// Identities: list, show
    #[command(subcommand)]
    Identity(identity::Command),
    /// Access to identities: list, grant, grant to everyone, revoke
    #[command(subcommand)]
    Access(access::Command),
    /// Webhook subscriptions: list, disable, list deliveries, retry
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// The pool of phone numbers
    #[command(subcommand)]
    Numbers(numbers::Command),
    /// Read models: show, rebuild, verify, roll back
    #[command(subcommand)]
    Projections(projections::Command),
    /// History for auditors: export it, verify it without this service
    #[command(subcommand)]
    Audit(audit::Command),
    /// Back up the database to a file; the service may run meanwhile
    Backup(backup::BackupFlags),
    /// Write a backup into an empty database or a new data directory
    Restore(restore::RestoreFlags),
    /// The private Postgres: move it to another major version
    #[command(subcommand)]
    Postgres(postgres::Command),
    /// Check the database, and the settings of serve
    Doctor {
        #[command(flatten)]
        flags: Box<ServeFlags>,
    },
    /// Print the manual
    Man(manual::ManFlags),
    /// Print a script that makes a shell complete commands and options
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the OpenAPI document
    Openapi,
}

/// Carries out one command line.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { common, database, signing, secrets, command } = arguments;
    // These commands need neither settings nor a database.
    match &command {
        Command::Man(flags) => return manual::man(flags),
        Command::Completions { shell } => return manual::completions(*shell),
        _ => {}
    }
    let serves = matches!(command, Command::Serve { .. });
    let endpoint = common.otlp_endpoint.filter(|endpoint| serves && !endpoint.is_empty());
    let traces = endpoint.as_deref().map(Traces::to).transpose()?;
    let level = if serves { LevelFilter::INFO } else { LevelFilter::WARN };
    let _until_written = logging::start(common.log_format, level, traces.as_ref())?;
    let file = SettingsFile::read(common.config.as_deref())?;
    if is_signing_key_in_the_open() {
        tracing::warn!(
            "everybody on this machine can read the value of --signing-key; use --signing-key-file, or the environment"
        );
    }
    let secrets = SecretsSettings::resolve(secrets, &database, &file);
    let signing = SigningSettings::resolve(signing, &database, &file)?;
    let installation =
        Installation { database: DatabaseSettings::resolve(database, &file)?, signing, secrets };
    let output = Output { json: common.json };
    match command {
        Command::Serve { flags, demo } => {
            let settings = ServeSettings::resolve(*flags, file)?;
            let outcome = Box::pin(serve::run(&settings, &installation, output, demo)).await;
            if let Some(traces) = traces {
                tokio::task::spawn_blocking(move || traces.close()).await?;
            }
            outcome
        }
        Command::Migrate => migrate::run(&installation.database, output).await,
        Command::Org(command) => org::run(command, &installation, output).await,
        Command::Key(command) => key::run(command, &installation, output).await,
        Command::Identity(command) => identity::run(command, &installation, output).await,
        Command::Access(command) => access::run(command, &installation, output).await,
        Command::Numbers(command) => numbers::run(command, &installation.database, output).await,
        Command::Webhooks(command) => webhooks::run(command, &installation, output).await,
        Command::Projections(command) => projections::run(command, &installation.database, output).await,
        Command::Audit(command) => audit::run(command, &installation, output).await,
        Command::Backup(flags) => backup::run(flags, &installation, output).await,
        Command::Restore(flags) => restore::run(flags, &installation, output).await,
        Command::Postgres(command) => postgres::run(command, &installation, output).await,
        Command::Doctor { flags } => {
            doctor::run(&ServeSettings::resolve(*flags, file)?, &installation, output).await
        }
        Command::Man(_) | Command::Completions { .. } => Ok(()),
        Command::Openapi => openapi::run(output),
    }
}

/// The database, the key that seals and signs the history, and the key that seals what is stored beside the history.
struct Installation {
    database: DatabaseSettings,
    signing: SigningSettings,
    secrets: SecretsSettings,
}

/// Whether the key was given as a flag, which the list of processes shows to every user.
fn is_signing_key_in_the_open() -> bool {
    let is_flag = |argument: &str| argument == "--signing-key" || argument.starts_with("--signing-key=");
    std::env::args_os().any(|argument| argument.to_str().is_some_and(is_flag))
}

/// Opens the database, does some work, and closes the database. A signal to stop cancels the work; the database is closed
/// all the same.
async fn with_database<T>(
    settings: &DatabaseSettings,
    if_missing: IfMissing,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let work = async |database: &Database, interruption: &mut Interruption| {
        tokio::select! {
            outcome = work(database) => outcome,
            () = interruption.arrives() => bailed_out(),
        }
    };
    with_database_until(settings, if_missing, work).await
}

/// Like `with_database`, for work that checks for itself whether it is interrupted.
async fn with_database_until<T>(
    settings: &DatabaseSettings,
    if_missing: IfMissing,
    work: impl AsyncFnOnce(&Database, &mut Interruption) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut interruption = Interruption::listen(Hangup::Stops)?;
    let database = match Database::open(settings, if_missing, interruption.stop()).await {
        Err(_) if interruption.stop().is_told() => return bailed_out(),
        opened => opened?,
    };
    let outcome = database.unless_silent(MAX_SILENCE, work(&database, &mut interruption)).await;
    let closed = database.close().await;
    outcome.and_then(|value| closed.map(|()| value))
}

fn bailed_out<T>() -> anyhow::Result<T> {
    bail!("interrupted")
}

/// Does some work as the operator of a database that is there.
async fn as_operator<T>(
    installation: &Installation,
    work: impl AsyncFnOnce(&Operator) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    with_database(&installation.database, IfMissing::Refuse, async |database| {
        database.migrate_if_begun().await?;
        work(&Operator::new(database.pool().clone(), installation.signing.clone())).await
    })
    .await
}
