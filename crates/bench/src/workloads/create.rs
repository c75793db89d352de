//! Creates: ours with everything that they do, those of the stock stack without keys and unique names, and one bare
//! statement each.

use std::sync::Arc;

use crate::arena::Arena;
use crate::ours::Ours;
use crate::pgbench::Floor;
use crate::requests::Creates;
use crate::results::Results;
use crate::scale::Scale;
use crate::turns::{Contestant, take};

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    ours.seed("first", 1).await?;
    let floor = Floor::prepare(arena, &ours.pool).await?;
    let (stock, _pool) = super::stock(arena).await?;
    let creates = Arc::new(Creates::new(&ours.key, "born"));
    ours.becomes_sole().await?;
    let contestants = [
        Contestant::http("ours", ours.server.address, creates.clone()),
        Contestant::http("stock", stock.address, creates),
        Contestant::floor(&floor),
    ];
    for &connections in scale.connections {
        take(arena, results, ("create", connections), (scale.rounds, scale.turn), &contestants).await?;
    }
    results.promise("create", 64, "ours", "stock", 5.8);
    results.promise("create", 64, "ours", "floor", 1.1);
    results.promise("create", 1, "ours", "stock", 1.6);
    stock.stop().await?;
    ours.stop().await
}
