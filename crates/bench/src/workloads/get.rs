//! Gets by handle beside the stock stack's get by id and beside the same bytes from memory; and, since the data is
//! there, how creates and gets fare as it grows, and how much memory and time the service takes.

use std::fs;
use std::sync::Arc;

use anyhow::Context as _;

use crate::arena::{Arena, Server, tidy};
use crate::load::Requests;
use crate::ours::{self, Ours};
use crate::requests::{Choice, Creates, Gets};
use crate::results::{Bound, Results};
use crate::scale::Scale;
use crate::seed::copy;
use crate::turns::{Contestant, take};

/// Over how many connections growth is measured.
const GROWTH: usize = 32;

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    grow(arena, scale, results, &ours).await?;
    let (stock, _pool) = stock(arena, &ours).await?;
    let memory = memory(arena, &ours).await?;
    for (workload, choice) in
        [("get-uniform", Choice::uniform(scale.identities)?), ("get-zipf", Choice::zipf(scale.identities)?)]
    {
        let gets = gets(&ours, choice);
        let contestants = [
            Contestant::http("ours", ours.server.address, gets.clone()),
            Contestant::http("stock", stock.address, gets.clone()),
            Contestant::http("memory", memory.address, gets),
        ];
        for &connections in scale.connections {
            take(arena, results, (workload, connections), (scale.rounds, scale.turn), &contestants).await?;
        }
        results.promise(workload, 32, "ours", "stock", 3.0);
        results.promise(workload, 32, "ours", "memory", 0.6);
    }
    stock.stop().await?;
    memory.stop().await?;
    footprint(arena, scale, results, ours).await
}

fn gets(ours: &Ours, choice: Choice) -> Arc<dyn Requests> {
    Arc::new(Gets { key: ours.key.clone(), prefix: "agent".to_owned(), choice })
}

/// Creates and gets over a tenth of the identities, and over all of them.
async fn grow(arena: &Arena, scale: Scale, results: &mut Results, ours: &Ours) -> anyhow::Result<()> {
    let tenth = scale.identities / 10;
    ours.seed("agent", tenth).await?;
    measure_growth(arena, scale, results, ours, "a tenth").await?;
    // The handles go on where the first tenth ended: those are refused here, and that costs little.
    let rest = scale.identities - tenth;
    crate::seed::Seeder::with(&ours.pool, &ours.organization_id, async |seeder| {
        seeder.create_from("agent", tenth, rest).await
    })
    .await?;
    tidy(&ours.pool).await?;
    measure_growth(arena, scale, results, ours, "all").await?;
    for kind in ["create", "get"] {
        let rate = |size: &str| {
            let series = results.find(&format!("{kind} over {size}"), GROWTH, "ours");
            series.map_or(0.0, |series| series.median(|round| round.per_second))
        };
        let kept = rate("all") / rate("a tenth");
        let claim = format!("{kind} over {} identities by {kind} over {tenth}", scale.identities);
        results.judge(claim, kept, Bound::AtLeast(0.75));
    }
    Ok(())
}

async fn measure_growth(
    arena: &Arena,
    scale: Scale,
    results: &mut Results,
    ours: &Ours,
    size: &str,
) -> anyhow::Result<()> {
    let turns = (scale.rounds, scale.turn);
    let gets = gets(ours, Choice::uniform(scale.identities / 10)?);
    let contestant = [Contestant::http("ours", ours.server.address, gets)];
    take(arena, results, (&format!("get over {size}"), GROWTH), turns, &contestant).await?;
    let prefix = format!("grown-{}", size.replace(' ', "-"));
    let creates = Arc::new(Creates::new(&ours.key, &prefix));
    let contestant = [Contestant::http("ours", ours.server.address, creates)];
    take(arena, results, (&format!("create over {size}"), GROWTH), turns, &contestant).await
}

/// The stock stack with the same identities, copied in bulk.
async fn stock(arena: &Arena, ours: &Ours) -> anyhow::Result<(Server, sqlx::PgPool)> {
    let (server, pool) = super::stock(arena).await?;
    let view = "select agent_handle, 1::bigint, document::json from read_model.identities";
    copy(&ours.pool, view, &pool, "identity_view").await?;
    let events =
        "select aggregate_type, agent_handle, sequence, event_type, event_version, payload::json, '{}'::json
                  from events
                  join read_model.identities on id::text = aggregate_id
                  where aggregate_type = 'identity'";
    copy(&ours.pool, events, &pool, "events").await?;
    tidy(&pool).await?;
    Ok((server, pool))
}

/// Bare axum, answering one of the bodies.
async fn memory(arena: &Arena, ours: &Ours) -> anyhow::Result<Server> {
    let query = "select document from read_model.identities limit 1";
    let document: String = sqlx::query_scalar(query).fetch_one(&ours.pool).await?;
    let path = arena.file("body.json");
    let body = document.strip_suffix('}').context("a document is no object")?;
    fs::write(&path, format!("{body},\"access\":[]}}"))?;
    arena.serve("identity-bench", &["memory", &path.to_string_lossy()]).await
}

/// Memory under load and when fresh, and the time until it answers.
async fn footprint(arena: &Arena, scale: Scale, results: &mut Results, ours: Ours) -> anyhow::Result<()> {
    let loaded = ours.server.resident()?;
    ours.server.stop().await?;
    let mut ready = Vec::new();
    for _ in 0..scale.rounds {
        let server = ours::serve(arena, "ours").await?;
        ready.push(server.ready_after);
        results.notes.push(format!("resident memory just started: {:.1} MiB", server.resident()?));
        server.stop().await?;
    }
    ready.sort_unstable();
    let ready = ready.get(ready.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1000.0;
    results.judge("resident MiB after the gets".to_owned(), loaded, Bound::AtMost(150.0));
    results.judge("milliseconds from start to ready".to_owned(), ready, Bound::AtMost(300.0));
    Ok(())
}
