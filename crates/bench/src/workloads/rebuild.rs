//! Rebuild of the identities from a long log, beside the stock replay of some of the same events, beside COPY out of
//! the log, and beside COPY into the table. Then once more while clients write and read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use identity_projections::Table;
use identity_projections::rebuild::{self, Phase, Progress, Settings};
use rand::rngs::StdRng;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::arena::{Arena, tidy};
use crate::load::{self, Load, Requests, TO_THE_END};
use crate::ours::{Ours, TURNS};
use crate::requests::{Choice, Creates, Gets};
use crate::results::{Bound, Results, Round, Series, milliseconds};
use crate::scale::Scale;
use crate::seed::{copy, read};
use crate::stock;

/// How many workers a rebuild has without other load.
pub(super) const WORKERS: usize = 4;

/// How many clients write during a rebuild.
const WRITERS: usize = 16;

/// How many clients read during a rebuild, as fast as they are answered.
const READERS: usize = 2;

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::with_history(arena, scale, results).await?;
    let events = scale.rebuilt * (TURNS + 1);
    let (mut rebuilt, mut out, mut replayed) = (vec![], vec![], vec![]);
    let stock_pool = stock_events(arena, scale, &ours).await?;
    for _ in 0..scale.rounds {
        rebuilt.push(rebuild(&ours.pool, WORKERS).await?);
        let query = "select aggregate_id, sequence, event_type, payload, recorded_at from events";
        out.push(Round::work(events, read(&ours.pool, query).await?.2));
        replayed.push(replay(arena, &stock_pool).await?);
    }
    let written = copied_in(arena, scale, &ours).await?;
    for (contestant, rounds) in
        [("ours", rebuilt), ("stock", replayed), ("copy-out", out), ("copy-in", vec![written])]
    {
        results.add(Series { workload: "rebuild".to_owned(), contestant, connections: 1, rounds });
    }
    let rate =
        results.find("rebuild", 1, "ours").map_or(0.0, |series| series.median(|round| round.per_second));
    results.judge("events a second of a rebuild".to_owned(), rate, Bound::AtLeast(250_000.0));
    results.promise("rebuild", 1, "ours", "stock", 140.0);
    beside_traffic(&ours, scale, results).await?;
    ours.stop().await
}

/// A rebuild with one worker while clients create identities and read others. Checks that no request is refused, no
/// event is missing, and no row differs from the log afterwards.
async fn beside_traffic(ours: &Ours, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let before = ours.events().await?;
    let over = Arc::new(AtomicBool::new(false));
    let load = |connections, requests| {
        let load = Load { address: ours.server.address, connections, time: TO_THE_END };
        load::run(load, Arc::new(Until { over: Arc::clone(&over), requests }))
    };
    let writes: Box<dyn Requests> = Box::new(Creates::new(&ours.key, "meanwhile"));
    let (key, prefix, choice) = (ours.key.clone(), "rebuilt".to_owned(), Choice::uniform(scale.rebuilt)?);
    let reads: Box<dyn Requests> = Box::new(Gets { key, prefix, choice });
    let rebuilding = async {
        let rebuilt = rebuild(&ours.pool, 1).await;
        over.store(true, Ordering::Relaxed);
        rebuilt
    };
    let (rebuilt, written, read) = tokio::try_join!(rebuilding, load(WRITERS, writes), load(READERS, reads))?;
    ensure!(written.refused + read.refused == 0, "clients were refused while a rebuild was made");
    ensure!(
        ours.events().await? == before + written.latencies.len(),
        "there are other events than were acknowledged"
    );
    let options = identity_log::connect_options(&ours.pool);
    let verified = rebuild::verify(&options, identities()?.as_ref(), &AtomicU64::new(0)).await?;
    ensure!(verified.differences.is_empty(), "rows depart from the log: {:?}", verified.differences);
    results.notes.push(format!(
        "beside a rebuild no write took longer than {:.0} ms, and {:.0} gets a second were answered",
        milliseconds(&written.latencies, 100),
        Round::of(&read).per_second
    ));
    let writes = Round::of(&written);
    results.judge("writes a second beside a rebuild".to_owned(), writes.per_second, Bound::AtLeast(1000.0));
    for (workload, round) in [("rebuild beside writes", rebuilt), ("writes beside a rebuild", writes)] {
        let (workload, connections) = (workload.to_owned(), WRITERS);
        results.add(Series { workload, contestant: "ours", connections, rounds: vec![round] });
    }
    Ok(())
}

/// Requests until `stop` is set.
struct Until {
    over: Arc<AtomicBool>,
    requests: Box<dyn Requests>,
}

impl Requests for Until {
    fn write(&self, connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        !self.over.load(Ordering::Relaxed) && self.requests.write(connection, random, request)
    }
}

fn identities() -> anyhow::Result<Arc<dyn Table>> {
    named("identities")
}

fn named(name: &str) -> anyhow::Result<Arc<dyn Table>> {
    let table = identity_projections::tables().into_iter().find(|table| table.name() == name);
    table.with_context(|| format!("there is no read model {name}"))
}

/// A rebuild of the identities, from the first event until the table is the live one.
pub(super) async fn rebuild(pool: &PgPool, workers: usize) -> anyhow::Result<Round> {
    rebuild_of("identities", pool, workers).await
}

/// The same of a read model.
pub(super) async fn rebuild_of(name: &str, pool: &PgPool, workers: usize) -> anyhow::Result<Round> {
    let table = named(name)?;
    let (progress, _watched) = watch::channel(Progress { phase: Phase::Fold, done: 0, total: 0 });
    let settings = Settings { workers, cut_over: true };
    let started = Instant::now();
    let options = identity_log::connect_options(pool);
    let never = std::future::pending();
    let report = rebuild::rebuild_until(&options, Arc::clone(&table), settings, &progress, never).await?;
    Ok(Round::work(usize::try_from(report.events)?, started.elapsed()))
}

async fn stock_events(arena: &Arena, scale: Scale, ours: &Ours) -> anyhow::Result<PgPool> {
    let pool = arena.database("stock").await?;
    stock::prepare(&pool).await?;
    let identities = scale.replayed / (TURNS + 1);
    let query = format!(
        "select aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, '{{}}'::json
         from events
         where aggregate_type = 'identity'
           and aggregate_id in (select id::text from read_model.identities order by id limit {identities})"
    );
    copy(&ours.pool, &query, &pool, "events").await?;
    tidy(&pool).await?;
    Ok(pool)
}

async fn replay(arena: &Arena, pool: &PgPool) -> anyhow::Result<Round> {
    sqlx::raw_sql("truncate identity_view").execute(pool).await?;
    let events: i64 = sqlx::query_scalar("select count(*) from events").fetch_one(pool).await?;
    let started = Instant::now();
    stock::replay(&arena.url("stock")).await?;
    Ok(Round::work(usize::try_from(events)?, started.elapsed()))
}

/// COPY of the same rows into an empty table with the same key. Counts the events that the rows come from.
async fn copied_in(arena: &Arena, scale: Scale, ours: &Ours) -> anyhow::Result<Round> {
    let pool = arena.database("floor").await?;
    sqlx::raw_sql(
        "create table identities (id uuid primary key, organization_id text, agent_handle text, email_address text,
                                  status text, tunnel_id uuid, phone_number_id uuid, created_at timestamptz,
                                  version bigint, tunnel_metadata text, document text)",
    )
    .execute(&pool)
    .await?;
    let query = "select id, organization_id, agent_handle, email_address, status, tunnel_id, phone_number_id,
                        created_at, version, tunnel_metadata, document
                 from read_model.identities";
    let (_bytes, time) = copy(&ours.pool, query, &pool, "identities").await?;
    Ok(Round::work(scale.rebuilt * (TURNS + 1), time))
}
