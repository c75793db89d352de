//! Gets by handle beside the stock stack's get by id and beside the same bytes from memory.

use std::fs;
use std::sync::Arc;

use anyhow::Context as _;

use crate::arena::{Arena, Server};
use crate::load::Requests;
use crate::ours::Ours;
use crate::requests::{Choice, Gets};
use crate::results::Results;
use crate::scale::Scale;
use crate::turns::{Contestant, take};

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    ours.seed("agent", scale.identities).await?;
    let stock = super::stock_beside(arena, &ours).await?;
    let memory = memory(arena, &ours).await?;
    ours.becomes_sole().await?;
    for address in [ours.server.address, stock.address, memory.address] {
        super::warm_up(address, &ours.key, scale.identities).await?;
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
        results.promise(workload, 32, "ours", "stock", 4.1);
        results.promise(workload, 32, "ours", "memory", 0.67);
    }
    stock.stop().await?;
    memory.stop().await?;
    ours.stop().await
}

fn gets(ours: &Ours, choice: Choice) -> Arc<dyn Requests> {
    Arc::new(Gets { key: ours.key.clone(), prefix: "agent".to_owned(), choice })
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
