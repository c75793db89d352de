//! The whole list of an organization, beside a COPY of the same documents.

use std::sync::Arc;
use std::time::Duration;

use crate::arena::Arena;
use crate::load::{self, Load};
use crate::ours::Ours;
use crate::requests::{self, Same};
use crate::results::{Bound, Results, Round, Series, milliseconds};
use crate::scale::Scale;
use crate::seed;
use crate::turns::{Contestant, take};

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start(arena, "ours").await?;
    ours.seed("listed", scale.listed).await?;
    ours.becomes_sole().await?;
    let mut request = Vec::new();
    requests::write(&mut request, "GET", "", &ours.key, "");
    let request = Arc::new(Same(request));
    let (mut list, mut floor, mut first_bytes, mut memory) = (vec![], vec![], vec![], vec![]);
    for _ in 0..scale.rounds.max(3) {
        let load = Load { address: ours.server.address, connections: 1, time: scale.turn };
        let measured = load::run(load, request.clone()).await?;
        list.push(Round { per_second: mebibytes(measured.bytes, measured.elapsed), ..Round::of(&measured) });
        first_bytes.push(milliseconds(&measured.first_bytes, 50));
        memory.push(ours.server.resident()?);
        floor.push(copied(&ours).await?);
    }
    pages(arena, scale, results, &ours).await?;
    first_bytes.sort_by(f64::total_cmp);
    let first_byte = first_bytes.get(first_bytes.len() / 2).copied().unwrap_or_default();
    let workload = format!("list of {}, MiB", scale.listed);
    for (contestant, rounds) in [("ours", list), ("floor", floor)] {
        results.add(Series { workload: workload.clone(), contestant, connections: 1, rounds });
    }
    results.promise(&workload, 1, "ours", "floor", 0.5);
    results.judge("list: milliseconds to the first byte".to_owned(), first_byte, Bound::AtMost(10.0));
    let (least, most) =
        memory.iter().fold((f64::MAX, 0.0_f64), |(least, most), now| (least.min(*now), most.max(*now)));
    results.judge(
        "list: MiB between the rounds with least and most memory".to_owned(),
        most - least,
        Bound::AtMost(8.0),
    );
    ours.stop().await
}

/// The first page, of 100 identities.
async fn pages(arena: &Arena, scale: Scale, results: &mut Results, ours: &Ours) -> anyhow::Result<()> {
    let mut request = Vec::new();
    requests::write(&mut request, "GET", "?limit=100", &ours.key, "");
    let contestant = [Contestant::http("ours", ours.server.address, Arc::new(Same(request)))];
    take(arena, results, ("page of 100", 1), (scale.rounds, scale.turn), &contestant).await
}

async fn copied(ours: &Ours) -> anyhow::Result<Round> {
    let query = "select document from read_model.identities order by created_at desc, id desc";
    let (bytes, _first, time) = seed::read(&ours.pool, query).await?;
    Ok(Round { per_second: mebibytes(bytes, time), ..Round::work(1, time) })
}

#[expect(clippy::cast_precision_loss, reason = "a list has fewer bytes than a float can count")]
fn mebibytes(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1_048_576.0
}
