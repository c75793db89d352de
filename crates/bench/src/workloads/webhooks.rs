//! Webhooks: how long after the commit they are received, what dead and slow endpoints cost the others, what a long
//! queue costs commits, and the order of a history.

mod history;
mod queue;
pub(super) mod receiver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use rand::rngs::StdRng;

use crate::arena::Arena;
use crate::load::{self, Load, Measured, Requests};
use crate::ours::{Ours, ask};
use crate::requests::write;
use crate::results::{Bound, Results, Round, Series, median, milliseconds};
use crate::scale::Scale;
use crate::seed::Seeded;

use self::receiver::Receiver;

/// Lets webhooks reach the receiver, which is on this machine and has no certificate.
pub(super) const DEMO: &[&str] = &["--demo"];

/// Changes of identities whose endpoints work: 500 a second.
const CHANGES: Pace = Pace { connections: 25, interval: Duration::from_millis(50) };

/// Changes of two further identities, whose endpoints work or not: 10 a second for each.
const FURTHER_CHANGES: Pace = Pace { connections: 2, interval: Duration::from_millis(100) };

/// How many identities have an endpoint that works.
const WORKING: usize = 100;

/// How many turns of other workloads one takes, so that a dead endpoint is given up in each.
const LONGER: u32 = 8;

/// How often it is asked whether attempts have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let receiver = Receiver::start().await?;
    delays(arena, scale, results, &receiver).await?;
    history::run(arena, scale, results, &receiver).await?;
    queue::run(arena, scale, results, &receiver).await
}

/// From the commit to the receiver, beside two endpoints that work and beside a dead and a slow one: there are as many events in
/// both. A round has two turns of each, in an order (AB BA) in which neither comes later in the mean: tables grow, and are
/// vacuumed every minute.
async fn delays(
    arena: &Arena,
    scale: Scale,
    results: &mut Results,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let ours = Ours::start_with(arena, "ours", DEMO).await?;
    let working = ours.seed("working", WORKING).await?;
    let good = ours.seed("good", 2).await?;
    let bad = ours.seed("bad", 2).await?;
    let (address, key) = (ours.server.address, &ours.key);
    subscribe(address, key, &working, |_| receiver.url("working")).await?;
    subscribe(address, key, &good, |_| receiver.url("uncounted")).await?;
    subscribe(address, key, &bad, |number| receiver.url(if number == 0 { "dead" } else { "slow" })).await?;
    // Each was told of the signing key that it brought its identity.
    receiver.take(WORKING).await?;
    let time = scale.turn * LONGER;
    let (mut without, mut beside) = (vec![], vec![]);
    for _ in 0..scale.rounds {
        let (mut good_turns, mut bad_turns) = (Measured::default(), Measured::default());
        for is_bad in [false, true, true, false] {
            let (others, turns) = if is_bad { (&bad, &mut bad_turns) } else { (&good, &mut good_turns) };
            turns.append(received_beside(&ours, others, &working, time, receiver).await?);
            give_up(&ours).await?;
        }
        without.push(good_turns);
        beside.push(bad_turns);
    }
    report(results, &without, &beside);
    ours.stop().await
}

/// Deletes what waits, and waits for attempts that have not ended.
async fn give_up(ours: &Ours) -> anyhow::Result<()> {
    let statement =
        "with deleted as (delete from webhook_queue where lease_until is null or lease_until <= now())
                     select exists (select from webhook_queue where lease_until > now())";
    while sqlx::query_scalar(statement).fetch_one(&ours.pool).await? {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn report(results: &mut Results, without: &[Measured], beside: &[Measured]) {
    for (contestant, measured) in [("without", without), ("beside", beside)] {
        let rounds = measured.iter().map(Round::of).collect();
        let workload = "webhooks received".to_owned();
        results.add(Series { workload, contestant, connections: CHANGES.connections, rounds });
    }
    let percentile_95 = |measured: &Measured| milliseconds(&measured.latencies, 95);
    let claim = "webhooks: milliseconds from commit to receiver at 500 a second, 95th percentile".to_owned();
    results.judge(claim, median(without.iter().map(percentile_95).collect()), Bound::AtMost(250.0));
    let ratios =
        without.iter().zip(beside).map(|(without, beside)| percentile_95(beside) / percentile_95(without));
    let claim = "webhooks: the same beside a dead and a slow endpoint, by that without".to_owned();
    results.judge(claim, median(ratios.collect()), Bound::AtMost(1.05));
}

/// Changes identities whose endpoints work, and `others` at the same time. Returns how long after each event of the former its
/// delivery arrived. Fails unless all arrive.
async fn received_beside(
    ours: &Ours,
    others: &Seeded,
    working: &Seeded,
    time: Duration,
    receiver: &Receiver,
) -> anyhow::Result<Measured> {
    let counted = async {
        let sent = change(ours, working, CHANGES, time).await?;
        ensure!(sent.refused == 0, "{} changes were refused", sent.refused);
        let latencies = receiver.take(sent.latencies.len()).await?;
        Ok(Measured { elapsed: sent.elapsed, latencies, ..Measured::default() })
    };
    let (_others, counted) = tokio::try_join!(change(ours, others, FURTHER_CHANGES, time), counted)?;
    Ok(counted)
}

/// Changes identities for some time.
async fn change(ours: &Ours, identities: &Seeded, pace: Pace, time: Duration) -> anyhow::Result<Measured> {
    let load = Load { address: ours.server.address, connections: pace.connections, time };
    load::run(load, Changes::of(&ours.key, identities, pace)).await
}

/// Subscribes to the changes of each identity.
pub(super) async fn subscribe(
    address: SocketAddr,
    key: &str,
    identities: &Seeded,
    url: impl Fn(usize) -> String,
) -> anyhow::Result<()> {
    for (number, id) in identities.ids.iter().enumerate() {
        let url = url(number);
        let body =
            format!(r#"{{"agent_identity_id":"{id}","url":"{url}","event_types":["identity.updated"]}}"#);
        let status = ask(address, "POST", "/webhooks/subscriptions", key, &body).await?;
        ensure!(status == 201, "a subscription was answered with {status}");
    }
    Ok(())
}

/// How often something is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) connections: usize,
    /// The time between two requests of a connection.
    pub(super) interval: Duration,
}

/// Changes of descriptions, each to something new.
pub(super) struct Changes {
    key: String,
    identities: Seeded,
    interval: Duration,
    next: AtomicUsize,
}

impl Changes {
    pub(super) fn of(key: &str, identities: &Seeded, pace: Pace) -> Arc<Self> {
        let (key, identities) = (key.to_owned(), identities.clone());
        Arc::new(Self { key, identities, interval: pace.interval, next: AtomicUsize::new(0) })
    }
}

impl Requests for Changes {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let handle = self.identities.handle(number % self.identities.ids.len());
        let body = format!(r#"{{"description":"changed {number} times"}}"#);
        write(request, "PATCH", &format!("/{handle}"), &self.key, &body);
        true
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }
}
