//! 90% gets, 5% changes of the display name, 3% creates, 2% grants, with admin and agent keys.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::arena::Arena;
use crate::ours::Ours;
use crate::requests::{Creates, Mixed};
use crate::results::Results;
use crate::scale::Scale;
use crate::seed::Seeded;
use crate::turns::{Contestant, take};

/// How many agents have a key of their own.
const AGENTS: usize = 20;

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    let seeded = ours.seed("agent", scale.changed).await?;
    let agents = ours.agents(&seeded, AGENTS).await?;
    let stock = super::stock_beside(arena, &ours).await?;
    ours.becomes_sole().await?;
    for address in [ours.server.address, stock.address] {
        super::warm_up(address, &ours.key, scale.changed).await?;
    }
    let contestants = [
        Contestant::http("ours", ours.server.address, mixed(&ours.key, &seeded, &agents)),
        Contestant::http("stock", stock.address, mixed(&ours.key, &seeded, &agents)),
    ];
    take(arena, results, ("mixed", 32), (scale.rounds, scale.turn), &contestants).await?;
    results.promise("mixed", 32, "ours", "stock", 4.0);
    stock.stop().await?;
    ours.stop().await
}

fn mixed(key: &str, seeded: &Seeded, agents: &[(usize, String)]) -> Arc<Mixed> {
    Arc::new(Mixed {
        agents: agents.to_vec(),
        seeded: seeded.clone(),
        creates: Creates::new(key, "mixed"),
        grants: AtomicUsize::new(0),
    })
}
