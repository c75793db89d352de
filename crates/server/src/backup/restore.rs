//! Writes a backup into an empty database, in one transaction that is committed when all of the backup is verified. The mark that
//! is written with it stays until read models and proofs are ready, too.

use anyhow::{Context as _, bail, ensure};
use identity_log::proof::key_lock;
use identity_log::{copy, session};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use super::format::{BLOCK_BYTES, BackupHead, Section};
use super::indexes::PutAside;
use super::mark;
use super::tables::{self, Fate, Table};
use super::take::columns;
use super::verify::{self, Verified};
use super::verifying::{Backup, Verifying};
use crate::{doctor, migrations, roles};

/// Settings of the connection that writes. Postgres notices within half a second that this process is gone. The statistics are
/// those of a rebuild: enough for tables whose columns are keys. Autovacuum collects better ones later.
const SETTINGS: &str = "
    set statement_timeout = 0;
    set idle_in_transaction_session_timeout = 0;
    set lock_timeout = '10s';
    set maintenance_work_mem = '256MB';
    set default_statistics_target = 30;
    set client_connection_check_interval = '500ms';";

/// The same options for connections whose commits do not wait for the disk: migrations and rebuilds have hundreds of them.
/// Nothing of a restore counts before its last commit, which waits for all of them ([`Restoring::finish`]).
pub fn without_waiting(options: &PgConnectOptions) -> PgConnectOptions {
    session::beginning_with(options.clone(), &[("synchronous_commit", "off")])
}

/// A restore that keeps every service from starting until it is dropped.
#[derive(Debug)]
pub struct Restoring {
    connection: PgConnection,
}

impl Restoring {
    /// Begins a restore into a database on which no service runs.
    pub async fn begin(options: &PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = options.clone().disable_statement_logging().connect().await?;
        roles::standing(&mut connection).await?.refuse_without_ownership()?;
        connection.execute(SETTINGS).await?;
        let is_alone = key_lock::lock_exclusively(&mut connection).await?;
        ensure!(is_alone, "a service is running on this database: stop every process of it first");
        connection.execute("set lock_timeout = '10s'").await?;
        Ok(Self { connection })
    }

    /// Verifies a backup and writes its rows, unless an earlier restore of the same backup has written them and was cut off later.
    /// They are committed only if all of the backup is verified, and `accept` has no objection. `progress` hears how many rows are
    /// read, and how many there are.
    pub async fn load(
        &mut self,
        pool: &PgPool,
        backup: Backup<'_>,
        accept: impl FnOnce(&Verified) -> anyhow::Result<()>,
        progress: impl FnMut(u64, u64),
    ) -> anyhow::Result<Verified> {
        let verified = if let Some(marked) = mark::find(&mut self.connection).await? {
            let verifying = Verifying::begin(verify::open(backup.path)?, backup.key)?;
            let verified = verifying.skip(progress).await?;
            accept(&verified)?;
            ensure!(
                marked == verified.sha256,
                "another backup is being restored into this database, the one with the SHA-256 {marked}: finish that one, or give \
                 an empty database"
            );
            verified
        } else {
            doctor::refuse_unusable(pool).await?;
            let reader = verify::open(backup.path)?;
            make_shape(&mut self.connection, pool, reader.head()).await?;
            self.write(Verifying::begin(reader, backup.key)?, accept, progress).await?
        };
        migrations::run(pool).await?;
        Ok(verified)
    }

    /// Without a commit nothing was written.
    async fn write(
        &mut self,
        mut verifying: Verifying,
        accept: impl FnOnce(&Verified) -> anyhow::Result<()>,
        mut progress: impl FnMut(u64, u64),
    ) -> anyhow::Result<Verified> {
        let mut transaction = self.connection.begin().await?;
        refuse_filled(&mut transaction).await?;
        let (mut indexes, mut filled) = (PutAside::default(), vec![]);
        while let Some(section) = verifying.next_section().await? {
            let table = table(&section)?;
            filled.push(table.name);
            indexes.add(&mut transaction, table.name).await?;
            write_section(&mut transaction, table, &section, &mut verifying, &mut progress).await?;
        }
        let verified = verifying.finish().await?;
        accept(&verified)?;
        mark::set(&mut *transaction, &verified.sha256).await?;
        indexes.make(&mut transaction).await.context("cannot make the indexes")?;
        let prepare = format!("{RESET}; analyze {}", filled.join(", "));
        transaction.execute(prepare.as_str()).await.context("cannot prepare the restored tables")?;
        transaction.commit().await?;
        Ok(verified)
    }

    /// Lets the log go on with another signing key than that of the backup.
    pub async fn change_key(&mut self, name: &str) -> Result<(), sqlx::Error> {
        sqlx::query("update log_head set sealing_key = $1 where sealing_key is not null")
            .bind(name)
            .execute(&mut self.connection)
            .await
            .map(drop)
    }

    /// Removes the mark, and lets services start. When this commit is on disk, so are all before it.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.connection.execute("set synchronous_commit = on").await?;
        mark::remove(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}

/// The next introduction gets the number behind the last one. Of empty read models nothing may be known: the service rebuilds them.
const RESET: &str = "
    select setval(pg_get_serial_sequence('signing_key_introductions', 'number'), max(number))
    from signing_key_introductions having max(number) is not null;
    delete from read_models";

/// Migrates an empty database as far as the backup was, since rows fit into the shape that they were taken from.
async fn make_shape(connection: &mut PgConnection, pool: &PgPool, head: &BackupHead) -> anyhow::Result<()> {
    let software = &head.software;
    ensure!(
        head.migrations.iter().all(|version| migrations::knows(*version)),
        "the backup was taken by identityd {software}, which has migrations that this version does not know: restore it with that \
         version"
    );
    let applied = migrations::versions(connection).await?;
    ensure!(
        applied.iter().all(|version| head.migrations.contains(version)),
        "this database is in a newer shape than the backup, which was taken by identityd {software}: give an empty database without \
         tables"
    );
    migrations::run_only(pool, &head.migrations).await
}

/// Fails if there is a row in a table that the restore fills. The migrations of an older backup may not make all of them.
async fn refuse_filled(connection: &mut PgConnection) -> anyhow::Result<()> {
    for Table { name, fate, .. } in tables::kept() {
        let is_there = "select to_regclass($1) is not null";
        if !sqlx::query_scalar(is_there).bind(name).fetch_one(&mut *connection).await? {
            continue;
        }
        let condition = if fate == Fate::KeptRow { " where position <> 0" } else { "" };
        let query = format!("select exists (select from {name}{condition})");
        let is_filled: bool = sqlx::query_scalar(&query).fetch_one(&mut *connection).await?;
        ensure!(
            !is_filled,
            "this database is not empty (there is something in {name}): restore into a new data directory, or into an empty database. \
             A database that was served once has phone numbers; `identityd migrate` alone leaves it empty"
        );
    }
    Ok(())
}

fn table(section: &Section) -> anyhow::Result<Table> {
    let table = tables::kept().find(|table| table.name == section.table);
    table.with_context(|| format!("this identityd does not know the table {} of the backup", section.table))
}

/// Writes the rows of a section. Fails if the verification does.
async fn write_section(
    connection: &mut PgConnection,
    table: Table,
    section: &Section,
    verifying: &mut Verifying,
    progress: &mut impl FnMut(u64, u64),
) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", table.name);
    let known = columns(connection, table.name).await?;
    if let Some((column, kind)) = section.columns.iter().find(|column| !known.contains(column)) {
        bail!("{}: the database has no column {column} of type {kind}", context());
    }
    make_room(connection, table.name).await.with_context(context)?;
    let columns = section.columns_as_sql();
    let statement = format!("copy {} ({columns}) from stdin (format binary, freeze)", table.name);
    let mut sink = connection.copy_in_raw(&statement).await.with_context(context)?;
    sink.send(copy::HEADER).await.with_context(context)?;
    while let Some(rows) = verifying.next_rows().await? {
        // Postgres takes no message of 1 GiB.
        for part in rows.chunks(BLOCK_BYTES) {
            sink.send(part).await.with_context(context)?;
        }
        progress(verifying.rows, verifying.all_rows);
    }
    sink.send(copy::END.to_be_bytes().as_slice()).await.with_context(context)?;
    sink.finish().await.with_context(context)?;
    let enable = format!("alter table {} enable trigger user", table.name);
    connection.execute(enable.as_str()).await.with_context(context)?;
    Ok(())
}

/// Gives a table, which is empty but for the row of its migration, a new file in this transaction. If the transaction is rolled
/// back, that file is gone with all its rows. Triggers are disabled until the rows are written: they refuse some of what a backup
/// may have, and the verification says what is wrong with it.
async fn make_room(connection: &mut PgConnection, table: &str) -> Result<(), sqlx::Error> {
    let statements = format!("alter table {table} disable trigger user; truncate {table}");
    connection.execute(statements.as_str()).await.map(drop)
}
