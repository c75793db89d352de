//! The workers of a job, which fold ranges of the log at the same time.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use identity_log::scan::{self, AggregateRange, Selection};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use super::connection::Connector;
use crate::job_error::JobError;
use crate::table::{Table, Totals};

/// About how many events a range has. A verification keeps the rows of one range in memory, so this limits its memory.
const EVENTS_PER_RANGE: u64 = 50_000;

/// Divides a log with `total` selected events into ranges.
pub(super) async fn ranges(
    connection: &mut PgConnection,
    selection: Selection,
    position: i64,
    total: u64,
) -> Result<Vec<AggregateRange>, JobError> {
    let parts = i64::try_from(total / EVENTS_PER_RANGE + 1).unwrap_or(1);
    Ok(scan::ranges(connection, selection, position, parts).await?)
}

/// Makes a connection read ranges through the index by aggregate. Postgres would otherwise collect the rows of a
/// range page by page and sort them, which takes twice as long and delays the first row, or read the whole log for
/// every range.
pub(super) async fn read_in_order(source: &mut PgConnection) -> Result<(), sqlx::Error> {
    source.execute("set enable_bitmapscan = off; set enable_seqscan = off").await.map(drop)
}

/// The ranges that no worker has taken yet.
#[derive(Debug, Clone)]
struct Queue(Arc<Mutex<VecDeque<AggregateRange>>>);

impl Queue {
    fn new(ranges: Vec<AggregateRange>) -> Self {
        Self(Arc::new(Mutex::new(ranges.into())))
    }

    fn next(&self) -> Option<AggregateRange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// Builds all ranges. The first failure ends all workers.
pub(super) async fn build(
    connector: Connector,
    table: Arc<dyn Table>,
    ranges: Vec<AggregateRange>,
    workers: usize,
    progress: Arc<AtomicU64>,
) -> Result<Totals, JobError> {
    let workers = workers.max(1).min(ranges.len());
    let queue = Queue::new(ranges);
    let mut at_work = JoinSet::new();
    for _ in 0..workers {
        let (connector, table, queue, progress) =
            (connector.clone(), table.clone(), queue.clone(), progress.clone());
        at_work.spawn(async move { build_ranges(&connector, table.as_ref(), &queue, &progress).await });
    }
    let mut totals = Totals::default();
    while let Some(done) = at_work.join_next().await {
        totals = totals.and(done??);
    }
    Ok(totals)
}

async fn build_ranges(
    connector: &Connector,
    table: &dyn Table,
    queue: &Queue,
    progress: &AtomicU64,
) -> Result<Totals, JobError> {
    let mut source = connector.connect().await?;
    read_in_order(&mut source).await?;
    let mut sink = connector.connect().await?;
    // The lock lasts until the worker is done. Another job that creates the table again has to wait for it.
    let lock = format!("begin; lock table read_model_next.{} in row exclusive mode", table.name());
    sink.execute(lock.as_str()).await?;
    let mut totals = Totals::default();
    while let Some(range) = queue.next() {
        totals = totals.and(table.build(&mut source, &mut sink, &range, progress).await?);
    }
    sink.execute("commit").await?;
    source.close().await?;
    sink.close().await?;
    Ok(totals)
}
