//! Renames, grants and deletes, beside creates on the same service.

use std::sync::Arc;

use crate::arena::Arena;
use crate::ours::Ours;
use crate::requests::{Change, Changes, Creates};
use crate::results::Results;
use crate::scale::Scale;
use crate::turns::{Contestant, take};

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    let count = scale.changed * scale.rounds;
    let address = ours.server.address;
    let creates = Arc::new(Creates::new(&ours.key, "born"));
    for (workload, prefix, kind) in [
        ("rename", "renamed", Change::Rename),
        ("grant", "granted", Change::Grant),
        ("delete", "deleted", Change::Delete),
    ] {
        let seeded = ours.seed(prefix, count).await?;
        ours.becomes_sole().await?;
        let changes = Arc::new(Changes::new(&ours.key, seeded, kind));
        let contestants = [
            Contestant::http(workload, address, changes),
            Contestant::http("create", address, creates.clone()),
        ];
        take(arena, results, (workload, 32), (scale.rounds, scale.turn), &contestants).await?;
        results.promise(workload, 32, workload, "create", 0.7);
    }
    ours.stop().await
}
