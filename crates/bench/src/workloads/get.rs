//! Gets by handle beside the stock stack's get by id and beside the same bytes from memory.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use anyhow::Context as _;

use crate::arena::{Arena, Server, tidy};
use crate::load::{self, Load, Requests, TO_THE_END};
use crate::ours::Ours;
use crate::requests::{Choice, Gets, Walk};
use crate::results::Results;
use crate::scale::Scale;
use crate::seed::copy;
use crate::turns::{Contestant, take};

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    ours.seed("agent", scale.identities).await?;
    let (stock, _pool) = stock(arena, &ours).await?;
    let memory = memory(arena, &ours).await?;
    for address in [ours.server.address, stock.address, memory.address] {
        warm_up(address, &ours.key, scale.identities).await?;
    }
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
            take(arena, results, (workload, connections), (scale.rounds, scale.turn / 2), &contestants)
                .await?;
        }
        results.promise(workload, 32, "ours", "stock", 3.0);
        results.promise(workload, 32, "ours", "memory", 0.6);
    }
    stock.stop().await?;
    memory.stop().await?;
    ours.stop().await
}

/// What is measured has been running for a while: everything was asked for once.
async fn warm_up(address: SocketAddr, key: &str, count: usize) -> anyhow::Result<()> {
    let walk = Walk { key: key.to_owned(), prefix: "agent".to_owned(), count, next: AtomicUsize::new(0) };
    load::run(Load { address, connections: 32, time: TO_THE_END }, Arc::new(walk)).await.map(drop)
}

fn gets(ours: &Ours, choice: Choice) -> Arc<dyn Requests> {
    Arc::new(Gets { key: ours.key.clone(), prefix: "agent".to_owned(), choice })
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
