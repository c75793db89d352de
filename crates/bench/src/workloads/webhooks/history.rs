//! A history that is sent to a log endpoint in order, while the receiver fails at random.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::arena::Arena;
use crate::ours::{Ours, ask};
use crate::results::{Bound, Results, Round, Series};
use crate::scale::Scale;

use super::DEMO;
use super::receiver::Receiver;

/// A failure is sent again after a second, the shortest delay that there is, and not after five.
const RETRY_DELAYS: &str = "--webhook-retry-delays=1,1,1,1,1";

/// How long all of it may take.
const MAX_TIME: Duration = Duration::from_mins(5);

pub(super) async fn run(
    arena: &Arena,
    scale: Scale,
    results: &mut Results,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let ours = Ours::start_with(arena, "history_sent", &[DEMO, &[RETRY_DELAYS]].concat()).await?;
    ours.seed("agent", scale.sent).await?;
    let events = ours.events().await?;
    let body = format!(r#"{{"url":"{}","after":0}}"#, receiver.url("history"));
    let started = Instant::now();
    let status = ask(ours.server.address, "POST", "/webhooks/log-endpoints", &ours.key, &body).await?;
    ensure!(status == 201, "a log endpoint was answered with {status}");
    let sequences = receiver.history(events, MAX_TIME).await?;
    let (workload, contestant) = ("history to a log endpoint".to_owned(), "ours");
    let rounds = vec![Round::work(events, started.elapsed())];
    results.add(Series { workload, contestant, connections: 1, rounds });
    let misplaced = sequences.iter().zip(1..).filter(|(sequence, place)| **sequence != *place).count();
    let claim = format!("webhooks: of {events} events to a log endpoint, those out of order or missing");
    results.judge(claim, Round::work(misplaced, Duration::from_secs(1)).per_second, Bound::AtMost(0.0));
    ours.stop().await
}
