//! Two processes over one database: creates through both, gets of one while the other writes, and whether one ever answers with
//! less than the other has acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;

use crate::arena::{Arena, Server};
use crate::load::{self, Load, Measured, Requests};
use crate::ours::{self, Ours, ask};
use crate::requests::{Choice, Creates, Gets};
use crate::results::{Bound, Results, Round, Series, median};
use crate::scale::Scale;

/// How many connections create.
const WRITERS: usize = 64;

/// How many connections read.
const READERS: usize = 32;

/// How often a process writes while gets of the other one are measured.
const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// How many identities are read.
const READ: usize = 1_000;

/// All requests come from one address, and every fifth read is one with a key that was revoked.
const WITHOUT_LIMIT_OF_REFUSED_KEYS: &[&str] = &["--refused-keys-per-minute=0"];

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let ours = Ours::start_with(arena, "ours", WITHOUT_LIMIT_OF_REFUSED_KEYS).await?;
    ours.seed("agent", READ).await?;
    gets(arena, &ours, scale, results).await?;
    let beside = ours::serve_with(arena, "ours", WITHOUT_LIMIT_OF_REFUSED_KEYS).await?;
    creates(&ours, &beside, scale, results).await?;
    stale(&ours, &beside, scale, results).await?;
    beside.stop().await?;
    ours.stop().await
}

/// Gets of one process: alone, and while another one writes.
async fn gets(arena: &Arena, ours: &Ours, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let address = ours.server.address;
    let choice = Choice::uniform(READ)?;
    let gets: Arc<dyn Requests> =
        Arc::new(Gets { key: ours.key.clone(), prefix: "agent".to_owned(), choice });
    let read = || load::run(Load { address, connections: READERS, time: scale.turn }, Arc::clone(&gets));
    let writes: Arc<dyn Requests> = Arc::new(Paced(Creates::new(&ours.key, "beside")));
    let (mut alone, mut asking) = (vec![], vec![]);
    for _ in 0..scale.rounds {
        ours.becomes_sole().await?;
        alone.push(read().await?);
        let beside = ours::serve_with(arena, "ours", WITHOUT_LIMIT_OF_REFUSED_KEYS).await?;
        let write = Load { address: beside.address, connections: 1, time: scale.turn };
        let (read, _written) = tokio::try_join!(read(), load::run(write, Arc::clone(&writes)))?;
        asking.push(read);
        beside.stop().await?;
    }
    let claim = "gets while another process writes, by those of a process alone".to_owned();
    results.judge(claim, ratio(&asking, &alone), Bound::AtLeast(0.5));
    add(results, "get by processes", READERS, [("alone", alone), ("asking", asking)]);
    Ok(())
}

/// Creates through one process and through both, in turns.
async fn creates(ours: &Ours, beside: &Server, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let creates: Arc<dyn Requests> = Arc::new(Creates::new(&ours.key, "born"));
    let through = |address: SocketAddr, connections: usize| {
        load::run(Load { address, connections, time: scale.turn }, Arc::clone(&creates))
    };
    let (mut by_one, mut by_both) = (vec![], vec![]);
    for _ in 0..scale.rounds {
        by_one.push(through(ours.server.address, WRITERS).await?);
        let half = WRITERS / 2;
        let (here, there) =
            tokio::try_join!(through(ours.server.address, half), through(beside.address, half))?;
        by_both.push(together(here, there));
    }
    let claim = "creates through two processes, by those through one".to_owned();
    results.judge(claim, ratio(&by_both, &by_one), Bound::AtLeast(1.0));
    add(results, "create by processes", WRITERS, [("one", by_one), ("two", by_both)]);
    Ok(())
}

/// Writes through one process and reads through the other at once, in both directions.
async fn stale(ours: &Ours, beside: &Server, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let readers = ours.seed("reader", scale.revoked).await?;
    let seeded = ours.seed("target", scale.revoked).await?;
    let (one, other) = (ours.server.address, beside.address);
    let (mut reads, mut late, mut longest) = (0, vec![], Duration::ZERO);
    for (number, key) in ours.agents(&readers, scale.revoked).await? {
        let (here, there) = if number % 2 == 0 { (one, other) } else { (other, one) };
        let (target, renamed) =
            (format!("/identities/{}", seeded.handle(number)), format!("renamed-{number}"));
        let moved = format!("/identities/{renamed}");
        let viewer = readers.ids.get(number).context("a reader without an id")?;
        let (access, grant) = (format!("{moved}/access"), format!(r#"{{"viewer_identity_id":"{viewer}"}}"#));
        let rename = format!(r#"{{"agent_handle":"{renamed}"}}"#);
        let (revoked, id) =
            (format!("{access}/{viewer}"), key.split('.').next().context("a key without an id")?);
        let (key_path, itself) =
            (format!("/api-keys/{id}"), format!("/identities/{}", readers.handle(number)));
        let admin = ours.key.as_str();
        let steps = [
            ("PATCH", &target, &rename, 200, (&target, admin, 404)),
            ("POST", &access, &grant, 201, (&moved, key.as_str(), 200)),
            ("DELETE", &revoked, &String::new(), 204, (&moved, key.as_str(), 404)),
            ("DELETE", &moved, &String::new(), 204, (&moved, admin, 404)),
            ("DELETE", &key_path, &String::new(), 204, (&itself, key.as_str(), 401)),
        ];
        for (method, path, body, written, (read, reader, expected)) in steps {
            // The other process has it in memory.
            ask(there, "GET", read, reader, "").await?;
            let began = Instant::now();
            let status = ask(here, method, path, admin, body).await?;
            ensure!(status == written, "{method} {path} was answered with {status}");
            longest = longest.max(began.elapsed());
            reads += 1;
            let found = ask(there, "GET", read, reader, "").await?;
            if found != expected {
                late.push(format!("{found} instead of {expected} after {method} {path}"));
            }
        }
    }
    results.notes.push(format!(
        "two processes: {} of {reads} reads right after a write through the other process were stale ({}); the longest write \
         took {:.0} ms",
        late.len(),
        late.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", "),
        longest.as_secs_f64() * 1000.0
    ));
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    results.judge("stale reads through another process".to_owned(), late.len() as f64, Bound::AtMost(0.0));
    Ok(())
}

/// What two processes did at the same time.
fn together(here: Measured, there: Measured) -> Measured {
    let elapsed = here.elapsed.max(there.elapsed);
    let mut both = here;
    both.append(there);
    Measured { elapsed, ..both }
}

fn ratio(of: &[Measured], to: &[Measured]) -> f64 {
    let rate = |measured: &Measured| Round::of(measured).per_second;
    median(of.iter().zip(to).map(|(of, to)| rate(of) / rate(to)).collect())
}

fn add(results: &mut Results, workload: &str, connections: usize, all: [(&'static str, Vec<Measured>); 2]) {
    for (contestant, measured) in all {
        let rounds = measured.iter().map(Round::of).collect();
        results.add(Series { workload: workload.to_owned(), contestant, connections, rounds });
    }
}

/// Creates with a pause between them.
struct Paced(Creates);

impl Requests for Paced {
    fn write(&self, connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        self.0.write(connection, random, request)
    }

    fn interval(&self) -> Option<Duration> {
        Some(WRITE_INTERVAL)
    }
}
