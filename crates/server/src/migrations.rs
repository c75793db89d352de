//! The shape of the database: the migrations in the binary, and how far a database has come.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use identity_projections::rebuild::shapes;
use sqlx::migrate::Migrator;
use sqlx::{PgConnection, PgPool};

use crate::backup::mark;
use crate::roles;

/// The contents of the folder `migrations` when this binary was built.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Brings the database up to date. Processes that do so at once wait for each other, on an advisory lock of Postgres.
/// If it is up to date nothing is written, so a role without the right to change tables, or a standby, will do.
pub async fn run(pool: &PgPool) -> anyhow::Result<()> {
    let context = "cannot migrate the database";
    let mut connection = pool.acquire().await.context(context)?;
    let standing = roles::standing(&mut connection).await.context(context)?;
    if is_up_to_date(&mut connection).await? {
        return Ok(());
    }
    if !standing.may_migrate {
        let Progress { damaged, unknown, .. } = progress(&mut connection).await?;
        ensure!(
            damaged.is_empty() && unknown.is_empty(),
            "migrations of this database are damaged {damaged:?}, or from a newer identityd {unknown:?}"
        );
    }
    standing.refuse_without_ownership().context(context)?;
    // The pool may have no second connection.
    drop(connection);
    MIGRATIONS.run(pool).await.context(context)?;
    let mut connection = pool.acquire().await.context(context)?;
    shapes::write(&mut connection).await.context("cannot write how read models are made")
}

/// Whether all migrations are applied, and the statements that make read models are those of this software.
pub async fn is_up_to_date(connection: &mut PgConnection) -> anyhow::Result<bool> {
    let is_complete = progress(connection).await?.is_complete();
    let context = "cannot read how read models are made";
    Ok(is_complete && shapes::are_written(connection).await.context(context)?)
}

/// The same for commands that work on what is there: a database without any of our tables, or one that is being restored, is left
/// as it is.
pub async fn run_if_begun(pool: &PgPool) -> anyhow::Result<()> {
    let context = "cannot migrate the database";
    let mut connection = pool.acquire().await.context(context)?;
    roles::refuse_without_rights(&mut connection).await.context(context)?;
    ensure!(mark::find(&mut connection).await?.is_none(), mark::UNFINISHED_RESTORE);
    let progress = progress(&mut connection).await?;
    drop(connection);
    ensure!(
        progress.pending.len() < known(),
        "this database has no tables of identityd: if it is the right one, `identityd migrate` makes them"
    );
    run(pool).await
}

/// Applies only these migrations, those of the software that took a backup.
pub async fn run_only(pool: &PgPool, versions: &[i64]) -> anyhow::Result<()> {
    let migrations = MIGRATIONS.iter().filter(|migration| versions.contains(&migration.version)).cloned();
    let migrator = Migrator { migrations: Cow::Owned(migrations.collect()), ..Migrator::DEFAULT };
    migrator.run(pool).await.context("cannot migrate the database")
}

/// Whether this binary knows a migration.
pub fn knows(version: i64) -> bool {
    MIGRATIONS.version_exists(version)
}

/// The migrations that have been applied.
pub async fn versions(connection: &mut PgConnection) -> anyhow::Result<Vec<i64>> {
    let applied = applied(connection).await.context("cannot read which migrations have been applied")?;
    Ok(applied.into_keys().collect())
}

/// How many migrations this binary knows.
pub fn known() -> usize {
    MIGRATIONS.iter().count()
}

/// How the database compares with the migrations in this binary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Versions that have yet to be applied.
    pub pending: Vec<i64>,
    /// Versions that were applied with another content, or not to their end.
    pub damaged: Vec<i64>,
    /// Versions that only a newer identityd knows.
    pub unknown: Vec<i64>,
}

impl Progress {
    /// Whether the database is in exactly the shape that this binary expects.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }
}

/// Looks up what has been applied; changes nothing.
pub async fn progress(connection: &mut PgConnection) -> anyhow::Result<Progress> {
    let applied = applied(connection).await.context("cannot read which migrations have been applied")?;
    Ok(compare(&MIGRATIONS, &applied))
}

/// By version: the checksum, and whether it came to its end.
type Applied = HashMap<i64, (Vec<u8>, bool)>;

async fn applied(connection: &mut PgConnection) -> sqlx::Result<Applied> {
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Applied::new());
    }
    let rows: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("select version, checksum, success from _sqlx_migrations")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|(version, checksum, success)| (version, (checksum, success))).collect())
}

fn compare(known: &Migrator, applied: &Applied) -> Progress {
    let mut progress = Progress::default();
    for migration in known.iter() {
        match applied.get(&migration.version) {
            None => progress.pending.push(migration.version),
            Some((checksum, true)) if *checksum == *migration.checksum => {}
            Some(_) => progress.damaged.push(migration.version),
        }
    }
    progress.unknown = applied.keys().copied().filter(|version| !known.version_exists(*version)).collect();
    progress.unknown.sort_unstable();
    progress
}
