//! The verification: comparing a live table with the log.

use std::sync::atomic::AtomicU64;

use identity_log::count::EventCounts;
use identity_log::read;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::connection::Connector;
use super::workers;
use crate::job_error::JobError;
use crate::registry;
use crate::table::{Difference, Table};

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The position at which the table was compared with the log.
    pub position: i64,
    /// Events that were folded.
    pub events: u64,
    /// Rows that differ from the log, in no particular order.
    pub differences: Vec<Difference>,
}

/// Compares a live table with the log, and writes the result to the registry. Both are read in one snapshot, so
/// writes can go on.
pub async fn verify(
    options: &PgConnectOptions,
    table: &dyn Table,
    progress: &AtomicU64,
) -> Result<Verified, JobError> {
    let what = format!("verification of {}", table.name());
    let connector = Connector::new(options, &what, "read_model");
    let mut source = connector.connect().await?;
    let mut live = connector.connect().await?;
    registry::register(&mut source, &[table]).await?;
    share_snapshot(&mut live, &mut source, table.name()).await?;
    let position = read::head(&mut source).await?;
    let mut counts = EventCounts::default();
    counts.advance(&mut source, position).await?;
    let events = counts.of(&mut source, table.selection()).await?;
    let ranges = workers::ranges(&mut source, table.selection(), position, events).await?;
    workers::read_in_order(&mut source).await?;
    let mut read = 0;
    let mut differences = Vec::new();
    for range in ranges {
        let (events, found) = table.verify(&mut source, &mut live, &range, progress).await?;
        read += events;
        differences.extend(found);
    }
    if read != events {
        return Err(JobError::Events { read, total: events });
    }
    source.execute("commit").await?;
    live.close().await?;
    registry::note_verified(&mut source, table.name(), position, differences.len()).await?;
    source.close().await?;
    Ok(Verified { position, events, differences })
}

/// Begins a transaction on both connections with the same snapshot. The table is locked before the snapshot is taken,
/// so that no swap comes between: a table that becomes live after the snapshot looks empty in it.
async fn share_snapshot(
    live: &mut PgConnection,
    source: &mut PgConnection,
    name: &str,
) -> Result<(), sqlx::Error> {
    let lock = format!(
        "begin isolation level repeatable read read only; lock table read_model.{name} in access share mode"
    );
    live.execute(lock.as_str()).await?;
    let snapshot: String = sqlx::query_scalar("select pg_export_snapshot()").fetch_one(live).await?;
    source.execute("begin isolation level repeatable read read only").await?;
    source.execute(format!("set transaction snapshot '{snapshot}'").as_str()).await?;
    Ok(())
}
