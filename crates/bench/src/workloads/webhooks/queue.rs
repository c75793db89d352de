//! Creates beside a long queue of webhooks whose endpoints are dead, and beside an empty one.

use std::sync::Arc;

use crate::arena::{Arena, tidy};
use crate::load::{self, Load};
use crate::ours::Ours;
use crate::requests::Creates;
use crate::results::{Bound, Results, Round, Series, median};
use crate::scale::Scale;

use super::receiver::Receiver;
use super::{DEMO, subscribe};

/// How many subscriptions the queue is for. Each has as many deliveries as may wait for one.
const SUBSCRIPTIONS: usize = 10;

const CONNECTIONS: usize = 32;

/// How many turns of other workloads one takes.
const LONGER: u32 = 5;

pub(super) async fn run(
    arena: &Arena,
    scale: Scale,
    results: &mut Results,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let mut empty = Side::prepare(arena, "empty", 0, receiver).await?;
    let mut long = Side::prepare(arena, "long", scale.queued, receiver).await?;
    for round in 0..scale.rounds {
        empty.turn(arena, scale, round).await?;
        long.turn(arena, scale, round).await?;
    }
    let name = format!("create beside {} webhooks", scale.queued);
    let more = long.memory() - empty.memory();
    empty.report(&name, results);
    long.report(&name, results);
    results.promise(&name, CONNECTIONS, "long", "empty", 0.95);
    let claim = format!("MiB of memory for {} waiting webhooks", scale.queued);
    results.judge(claim, more, Bound::AtMost(64.0));
    Ok(())
}

/// The service with a queue of some length. It runs only during its turns: its attempts would slow down the other.
struct Side {
    name: &'static str,
    key: String,
    rounds: Vec<Round>,
    /// The maximum of resident memory in each round, in MiB.
    memory: Vec<f64>,
}

impl Side {
    async fn prepare(
        arena: &Arena,
        name: &'static str,
        queued: usize,
        receiver: &Receiver,
    ) -> anyhow::Result<Self> {
        let ours = Ours::start_with(arena, name, DEMO).await?;
        let identities = ours.seed("subscribed", SUBSCRIPTIONS).await?;
        subscribe(ours.server.address, &ours.key, &identities, |_| receiver.url("dead")).await?;
        let key = ours.key.clone();
        ours.server.stop().await?;
        let rows = i32::try_from(queued / SUBSCRIPTIONS)?;
        sqlx::query(
            "insert into webhook_queue (id, endpoint_id, organization_id, identity_id, subject_id, event_id, event_type,
                                        payload, due_at, created_at)
             select gen_random_uuid(), id, organization_id, identity_id, identity_id, 'evt_' || number, 'identity.updated',
                    json_build_object('padding', repeat('x', 1000)), now(), now()
             from read_model.webhook_subscriptions, generate_series(1, $1) as number",
        )
        .bind(rows)
        .execute(&ours.pool)
        .await?;
        tidy(&ours.pool).await?;
        ours.pool.close().await;
        Ok(Self { name, key, rounds: vec![], memory: vec![] })
    }

    /// Starts the service, creates identities for the time of a turn, and stops it.
    async fn turn(&mut self, arena: &Arena, scale: Scale, round: usize) -> anyhow::Result<()> {
        let server = crate::ours::serve_with(arena, self.name, DEMO).await?;
        let creates = Arc::new(Creates::new(&self.key, &format!("born-{round}")));
        let load = Load { address: server.address, connections: CONNECTIONS, time: scale.turn * LONGER };
        self.rounds.push(Round::of(&load::run(load, creates).await?));
        self.memory.push(server.peak()?);
        server.stop().await
    }

    fn memory(&self) -> f64 {
        median(self.memory.clone())
    }

    fn report(self, workload: &str, results: &mut Results) {
        let Self { name: contestant, rounds, .. } = self;
        results.add(Series { workload: workload.to_owned(), contestant, connections: CONNECTIONS, rounds });
    }
}
