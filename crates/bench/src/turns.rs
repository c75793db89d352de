//! Turns: every contestant runs for a while, again and again, so that noise on the machine affects all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::arena::Arena;
use crate::load::{self, Load, Measured, Requests};
use crate::pgbench::Floor;
use crate::results::{Results, Round, Series};

/// A contestant.
pub(crate) struct Contestant<'a> {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// What it runs.
    pub(crate) work: Work<'a>,
}

/// What a contestant runs.
pub(crate) enum Work<'a> {
    /// Requests over HTTP.
    Http(SocketAddr, Arc<dyn Requests>),
    /// SQL statements.
    Statements(&'a Floor),
}

impl<'a> Contestant<'a> {
    /// A contestant that is a server, with its requests.
    pub(crate) fn http(name: &'static str, address: SocketAddr, requests: Arc<dyn Requests>) -> Self {
        Self { name, work: Work::Http(address, requests) }
    }

    /// A contestant that is Postgres itself.
    pub(crate) const fn floor(floor: &'a Floor) -> Self {
        Self { name: "floor", work: Work::Statements(floor) }
    }

    async fn work(&self, arena: &Arena, connections: usize, time: Duration) -> anyhow::Result<Measured> {
        match &self.work {
            Work::Http(address, requests) => {
                load::run(Load { address: *address, connections, time }, Arc::clone(requests)).await
            }
            Work::Statements(floor) => floor.run(arena, connections, time).await,
        }
    }
}

/// Lets contestants take `rounds` turns each.
pub(crate) async fn take(
    arena: &Arena,
    results: &mut Results,
    (workload, connections): (&str, usize),
    (rounds, time): (usize, Duration),
    contestants: &[Contestant<'_>],
) -> anyhow::Result<()> {
    let mut outcomes: Vec<Vec<Round>> = vec![vec![]; contestants.len()];
    for _ in 0..rounds {
        for (contestant, rounds) in contestants.iter().zip(&mut outcomes) {
            rounds.push(Round::of(&contestant.work(arena, connections, time).await?));
        }
    }
    for (contestant, rounds) in contestants.iter().zip(outcomes) {
        let workload = workload.to_owned();
        results.add(Series { workload, contestant: contestant.name, connections, rounds });
    }
    Ok(())
}
