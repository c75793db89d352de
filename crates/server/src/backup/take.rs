//! Takes a backup: every kept table in one snapshot of the database, beside a running service. Nothing is written to the database.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context as _, ensure};
use futures::TryStreamExt as _;
use identity_log::copy::CopyReader;
use identity_log::recorded::timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use super::format::{BackupHead, End, FORMAT, Section, TYPES};
use super::mark;
use super::tables::{self, Table};
use super::writer::Writer;
use crate::migrations;
use crate::unfinished::Unfinished;

/// Without sorting, Postgres reads events through the index of their positions and sends the first row at once.
const SETTINGS: &str = "
    set statement_timeout = 0;
    set idle_in_transaction_session_timeout = 0;
    set lock_timeout = '10s';
    set enable_sort = off;
    set jit = off;";

/// Takes a backup. `progress` hears how many rows are written, and how many there will be.
pub async fn run(
    options: &PgConnectOptions,
    path: &Path,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<(BackupHead, End)> {
    let unfinished = Unfinished::create(path)?;
    let mut snapshot = Snapshot::begin(options).await?;
    let head = snapshot.head().await?;
    let total = head.all_rows();
    let writer = Writer::begin(BufWriter::new(unfinished.file()), head.clone())?;
    let end = snapshot.copy_all(Copying { writer, done: 0, total, progress }).await?;
    snapshot.end().await?;
    unfinished.finish()?;
    Ok((head, end))
}

/// A transaction that sees one state of the database.
struct Snapshot(PgConnection);

/// The backup that is being written, and how far it is.
struct Copying<'a, P> {
    writer: Writer<BufWriter<&'a File>>,
    done: u64,
    total: u64,
    progress: P,
}

impl Snapshot {
    async fn begin(options: &PgConnectOptions) -> anyhow::Result<Self> {
        let mut connection = options.clone().disable_statement_logging().connect().await?;
        connection.execute(SETTINGS).await?;
        refuse_standby(&mut connection).await?;
        refuse_other_shape(&mut connection).await?;
        begin_with_locks(&mut connection).await.context("cannot begin a snapshot")?;
        // A migration may have come before the locks.
        refuse_other_shape(&mut connection).await?;
        ensure!(mark::find(&mut connection).await?.is_none(), mark::UNFINISHED_RESTORE);
        Ok(Self(connection))
    }

    async fn head(&mut self) -> anyhow::Result<BackupHead> {
        let (now, migrations, organizations, events): (time::OffsetDateTime, Vec<i64>, i64, i64) =
            sqlx::query_as(
                "select now(), (select array_agg(version order by version) from _sqlx_migrations),
                    (select count(*) from organization_heads), (select position from log_head)",
            )
            .fetch_one(&mut self.0)
            .await?;
        let mut rows = BTreeMap::new();
        for Table { name, .. } in tables::kept() {
            let count: i64 =
                sqlx::query_scalar(&format!("select count(*) from {name}")).fetch_one(&mut self.0).await?;
            rows.insert(name.to_owned(), u64::try_from(count)?);
        }
        Ok(BackupHead {
            format: FORMAT,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at: timestamp(now),
            migrations,
            organizations: u64::try_from(organizations)?,
            events: u64::try_from(events)?,
            rows,
        })
    }

    async fn copy_all<P: FnMut(u64, u64)>(&mut self, mut copying: Copying<'_, P>) -> anyhow::Result<End> {
        for table in tables::kept() {
            let context = || format!("cannot copy {}", table.name);
            self.copy(table, &mut copying).await.with_context(context)?;
        }
        Ok(copying.writer.finish()?)
    }

    async fn copy<P: FnMut(u64, u64)>(
        &mut self,
        table: Table,
        copying: &mut Copying<'_, P>,
    ) -> anyhow::Result<()> {
        let section =
            Section { table: table.name.to_owned(), columns: columns(&mut self.0, table.name).await? };
        for (column, kind) in &section.columns {
            ensure!(
                TYPES.contains(&kind.as_str()),
                "a backup has no form for {column}, which is of type {kind}"
            );
        }
        let (columns, order) = (section.columns_as_sql(), table.order());
        let query = format!("copy (select {columns} from {}{order}) to stdout (format binary)", table.name);
        let mut rows = self.0.copy_out_raw(&query).await?;
        let mut output = copying.writer.section(section)?;
        let mut reader = CopyReader::default();
        while let Some(bytes) = rows.try_next().await? {
            reader.feed(&bytes);
            while let Some(row) = reader.next_row()? {
                output.add(row.as_bytes())?;
                copying.done += 1;
            }
            (copying.progress)(copying.done, copying.total);
        }
        reader.finish()?;
        Ok(output.finish()?)
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.0.execute("commit").await?;
        Ok(self.0.close().await?)
    }
}

/// Begins the transaction that sees one state of the database. The locks come before the snapshot: a migration that rewrote a table
/// between the two would make the table look empty.
async fn begin_with_locks(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute("begin isolation level repeatable read read only").await?;
    let tables: Vec<&str> = tables::kept().map(|table| table.name).collect();
    let lock = format!("lock table {} in access share mode", tables.join(", "));
    connection.execute(lock.as_str()).await.map(drop)
}

/// A standby is behind its primary, so writes that were acknowledged may be missing.
async fn refuse_standby(connection: &mut PgConnection) -> anyhow::Result<()> {
    let is_standby: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(connection).await?;
    ensure!(
        !is_standby,
        "this database is a standby, which may not have every write that was acknowledged: take the backup from the primary"
    );
    Ok(())
}

async fn refuse_other_shape(connection: &mut PgConnection) -> anyhow::Result<()> {
    ensure!(
        migrations::progress(connection).await?.is_complete(),
        "this database is not in the shape that this identityd knows: take the backup with the identityd that serves it, or \
         run `identityd migrate` first"
    );
    Ok(())
}

/// The columns of a table, in their order, each with its type.
pub(super) async fn columns(
    connection: &mut PgConnection,
    table: &str,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "select attname::text, format_type(atttypid, atttypmod)
         from pg_attribute
         where attrelid = to_regclass($1) and attnum > 0 and not attisdropped
         order by attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}
