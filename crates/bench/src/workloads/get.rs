//! Gets by handle beside the stock stack's get by id, and beside the same bytes from memory and from a file.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use crate::arena::Arena;
use crate::load::Requests;
use crate::nginx::Nginx;
use crate::ours::Ours;
use crate::requests::{Choice, Gets};
use crate::results::Results;
use crate::scale::Scale;
use crate::turns::{Contestant, take};

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    ours.seed("agent", scale.identities).await?;
    let stock = super::stock_beside(arena, &ours).await?;
    let body = body(arena, &ours).await?;
    let memory = arena.serve("identity-bench", &["memory", &body.to_string_lossy()]).await?;
    let nginx = Nginx::start(arena, &body).await?;
    if nginx.is_none() {
        results.notes.push("not measured, for it is not installed (make peers): nginx".to_owned());
    }
    ours.becomes_sole().await?;
    let servers = [ours.server.address, stock.address, memory.address];
    for address in servers.into_iter().chain(nginx.as_ref().map(|nginx| nginx.address)) {
        super::warm_up(address, &ours.key, scale.identities).await?;
    }
    for (workload, choice) in
        [("get-uniform", Choice::uniform(scale.identities)?), ("get-zipf", Choice::zipf(scale.identities)?)]
    {
        let gets = gets(&ours, choice);
        let mut contestants = vec![
            Contestant::http("ours", ours.server.address, gets.clone()),
            Contestant::http("stock", stock.address, gets.clone()),
            Contestant::http("memory", memory.address, gets.clone()),
        ];
        contestants.extend(nginx.as_ref().map(|nginx| Contestant::http("nginx", nginx.address, gets)));
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

/// A file with one of the bodies, which bare axum answers from memory, and nginx from the file.
async fn body(arena: &Arena, ours: &Ours) -> anyhow::Result<PathBuf> {
    let query = "select document from read_model.identities limit 1";
    let document: String = sqlx::query_scalar(query).fetch_one(&ours.pool).await?;
    let path = arena.file("body.json");
    let body = document.strip_suffix('}').context("a document is no object")?;
    fs::write(&path, format!("{body},\"access\":[]}}"))?;
    Ok(path)
}
