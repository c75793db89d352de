//! `identityd projections`: commands on read models, while a service runs or without one.

mod progress;
mod rebuilding;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use identity_log::count::EventCounts;
use identity_projections::lost_ciphertexts::{self, LostCiphertext};
use identity_projections::rebuild;
use identity_projections::table::{Difference, DifferenceKind};
use identity_projections::{Table, claims, registry, second_reader, tables};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use identityd::database;
use identityd::database::{Database, IfMissing};
use identityd::settings::DatabaseSettings;

use super::comparison;
use super::interruption::Interruption;
use super::output::Output;
use super::{with_database, with_database_until};
pub(super) use rebuilding::Rebuilding;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every read model: version, rows, when it was built and verified, last job, and the version that a rollback leads to
    Status,
    /// Rebuild read models from the log and make them live, while the service runs
    Rebuild {
        #[command(flatten)]
        which: Which,

        /// How many ranges of the log are folded at the same time
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
        workers: u8,

        /// Stop when the new table is ready, and leave the live one as it is
        #[arg(long)]
        no_cutover: bool,
    },
    /// Make tables live that a rebuild left ready: with `--no-cutover`, or because the live table was in use
    Cutover {
        #[command(flatten)]
        which: Which,
    },
    /// Compare live read models with the log, while writes go on; by default all of them, and ciphertexts, too
    Verify {
        /// Names of read models
        #[arg(value_name = "NAME")]
        names: Vec<String>,

        /// All of them
        #[arg(long, conflicts_with = "names")]
        all: bool,

        /// Load every aggregate with cqrs-es and postgres-es instead, and compare with what this software folds and with all read
        /// models
        #[arg(long, conflicts_with_all = ["names", "all"])]
        independent: bool,

        /// Only up to N aggregates that are picked at random, none of them with more than 1,000 events
        #[arg(long, value_name = "N", requires = "independent", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        sample: Option<u32>,
    },
    /// Make claims on names, phone numbers and webhook subscriptions again that are missing or wrong, from the log
    Claims,
    /// Make the retired table of a read model the live one again
    Rollback {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Names of read models
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// All of them
    #[arg(long)]
    all: bool,
}

impl Which {
    fn tables(&self) -> anyhow::Result<Vec<Arc<dyn Table>>> {
        if self.all { Ok(tables()) } else { named(&self.names) }
    }
}

fn named(names: &[String]) -> anyhow::Result<Vec<Arc<dyn Table>>> {
    names.iter().map(|name| table(name)).collect()
}

fn table(name: &str) -> anyhow::Result<Arc<dyn Table>> {
    let found = tables().into_iter().find(|table| table.name() == name);
    found.with_context(|| {
        let names: Vec<&str> = tables().iter().map(|table| table.name()).collect();
        format!("there is no read model {name}; there are {}", names.join(", "))
    })
}

pub(super) async fn run(command: Command, database: &DatabaseSettings, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Status => {
            with_database(database, IfMissing::Refuse, async |database| {
                status::show(&open(database).await?, output).await
            })
            .await
        }
        Command::Rebuild { which, workers, no_cutover } => {
            let settings = rebuild::Settings { workers: workers.into(), cut_over: !no_cutover };
            rebuild_all(&which.tables()?, settings, database, output).await
        }
        Command::Cutover { which } => {
            let wanted = which.tables()?;
            with_database_until(database, IfMissing::Refuse, async |database, interruption| {
                let options = open(database).await?;
                let waiting = if which.all { ready(wanted, &options).await? } else { wanted };
                cut_all_over(&waiting, &options, interruption, output).await
            })
            .await
        }
        Command::Verify { independent: true, sample, .. } => {
            with_database(database, IfMissing::Refuse, async |database| {
                open(database).await?;
                compare_readers(database.pool(), sample, output).await
            })
            .await
        }
        Command::Verify { names, all, .. } => {
            let is_all = all || names.is_empty();
            let tables = if is_all { tables() } else { named(&names)? };
            with_database(database, IfMissing::Refuse, async |database| {
                let options = open(database).await?;
                let verified = verify_all(&tables, &options, output).await;
                let ciphertexts = if is_all { verify_ciphertexts(&options, output).await } else { Ok(()) };
                match (verified, ciphertexts) {
                    (Err(first), Err(second)) => Err(second.context(format!("{first:#}"))),
                    (verified, ciphertexts) => verified.and(ciphertexts),
                }
            })
            .await
        }
        Command::Claims => {
            with_database(database, IfMissing::Refuse, async |database| {
                database.migrate_if_begun().await?;
                claim_again(database.pool(), output).await
            })
            .await
        }
        Command::Rollback { name } => {
            let table = table(&name)?;
            with_database(database, IfMissing::Refuse, async |database| {
                roll_back(table.as_ref(), &open(database).await?, output).await
            })
            .await
        }
    }
}

async fn rebuild_all(
    tables: &[Arc<dyn Table>],
    settings: rebuild::Settings,
    database: &DatabaseSettings,
    output: Output,
) -> anyhow::Result<()> {
    // A job is not cancelled from outside: it stops at a point where the live table is whole.
    with_database_until(database, IfMissing::Refuse, async |database, interruption| {
        let (options, counts) = (open(database).await?, EventCounts::default());
        Rebuilding::new(&options, settings, output).run(tables, counts, interruption.stop()).await
    })
    .await
}

/// Jobs connect for themselves: they need connections of their own, with settings of their own.
async fn open(database: &Database) -> anyhow::Result<PgConnectOptions> {
    database.migrate_if_begun().await?;
    database::options(&database.urls().service)
}

async fn verify_all(
    tables: &[Arc<dyn Table>],
    options: &PgConnectOptions,
    output: Output,
) -> anyhow::Result<()> {
    let mut different = 0;
    for table in tables {
        let name = table.name();
        let verified = rebuild::verify(options, table.as_ref(), &AtomicU64::new(0)).await;
        let verified = verified.with_context(|| format!("{name} could not be verified"))?;
        let differences: Vec<_> = verified.differences.iter().map(as_json).collect();
        let json = json!({
            "name": name, "position": verified.position, "events": verified.events, "differences": differences,
        });
        let (events, position) = (verified.events, verified.position);
        let summary = format!(
            "{name}: {events} events at position {position}, {} differences",
            verified.differences.len()
        );
        let named = verified.differences.iter().map(|wrong| format!("  {} {}", word(wrong.kind), wrong.id));
        output.print_lines(&json, &[summary].into_iter().chain(named).collect::<Vec<_>>())?;
        different += verified.differences.len();
    }
    if different > 0 {
        bail!("{different} rows differ from the log: run `identityd projections rebuild NAME`");
    }
    Ok(())
}

/// Names the ciphertexts that the log says are kept and that are not there.
async fn verify_ciphertexts(options: &PgConnectOptions, output: Output) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    let lost =
        lost_ciphertexts::find(&mut connection, 0).await.context("ciphertexts could not be verified")?;
    connection.close().await?;
    let id = |lost: &LostCiphertext| format!("{} {} {}", lost.aggregate_type, lost.aggregate_id, lost.name);
    let differences: Vec<_> = lost.iter().map(|lost| json!({ "id": id(lost), "kind": "missing" })).collect();
    let summary = format!("ciphertexts: {} are missing", lost.len());
    let named = lost.iter().map(|lost| format!("  missing {}", id(lost)));
    output.print_lines(
        &json!({ "name": "ciphertexts", "differences": differences }),
        &[summary].into_iter().chain(named).collect::<Vec<_>>(),
    )?;
    ensure!(
        lost.is_empty(),
        "{} ciphertexts are missing: somebody has deleted them from the database; take them from a backup",
        lost.len()
    );
    Ok(())
}

/// Compares two readers and the read models.
async fn compare_readers(pool: &PgPool, sample: Option<u32>, output: Output) -> anyhow::Result<()> {
    let compared = match sample {
        Some(size) => second_reader::compare_sample(pool, size).await,
        None => second_reader::compare_all(pool).await,
    };
    comparison::print(&compared.context("the readers could not be compared")?, output)
}

/// All of them or none, while nobody writes to the log.
async fn claim_again(pool: &PgPool, output: Output) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    let made = claims::make_again(&mut transaction).await.context("no claim was made again")?;
    transaction
        .commit()
        .await
        .context("it is not known whether claims were made again: look with `doctor`")?;
    let lines: Vec<String> =
        made.iter().map(|(table, rows)| format!("{table}: {rows} rows made again")).collect();
    output.print_lines(&json!(made.into_iter().collect::<BTreeMap<_, _>>()), &lines)
}

fn as_json(difference: &Difference) -> serde_json::Value {
    json!({ "id": difference.id, "kind": word(difference.kind) })
}

const fn word(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Extra => "extra",
        DifferenceKind::Different => "different",
    }
}

async fn roll_back(table: &dyn Table, options: &PgConnectOptions, output: Output) -> anyhow::Result<()> {
    let name = table.name();
    let done = rebuild::rollback(options, table).await;
    let done = done.with_context(|| format!("{name} was not rolled back"))?;
    print_swap(name, "the retired table is live again", done, output)
}

/// Those read models that have a table that is ready to go live. Fails if there is none.
async fn ready(
    mut tables: Vec<Arc<dyn Table>>,
    options: &PgConnectOptions,
) -> anyhow::Result<Vec<Arc<dyn Table>>> {
    let entries = registry::list(&mut options.connect().await?).await?;
    let is_ready =
        |name: &str| entries.iter().any(|entry| entry.name == name && entry.next_version.is_some());
    tables.retain(|table| is_ready(table.name()));
    ensure!(!tables.is_empty(), "no read model has a table that is ready to go live");
    Ok(tables)
}

async fn cut_all_over(
    tables: &[Arc<dyn Table>],
    options: &PgConnectOptions,
    interruption: &mut Interruption,
    output: Output,
) -> anyhow::Result<()> {
    for table in tables {
        let name = table.name();
        let done = rebuild::cut_over_until(options, table.as_ref(), interruption.arrives()).await;
        let done = done.with_context(|| format!("{name} was not cut over"))?;
        print_swap(name, "the new table is live", done, output)?;
    }
    Ok(())
}

fn print_swap(
    name: &str,
    what: &str,
    (position, pause): (i64, Duration),
    output: Output,
) -> anyhow::Result<()> {
    let pause_ms = pause.as_secs_f64() * 1000.0;
    output.print(
        &json!({ "name": name, "position": position, "pause_ms": pause_ms }),
        &format!("{name}: {what} at position {position}, writers waited {pause_ms:.1} ms"),
    )
}
