//! The load: keep-alive HTTP/1.1 connections, each with one request in flight, and the latency of every answer.
//!
//! It does what wrk does, on one thread, since it shares the machine with the contestants. Unlike with wrk, bodies
//! can differ from request to request without a script.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::answer::Answer;

/// The requests of a load.
pub(crate) trait Requests: Send + Sync {
    /// Writes the next request of a connection. Returns false if there is no further request.
    fn write(&self, connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool;

    /// The time between two requests of a connection. Without it, the next one is sent when the last one was answered.
    fn interval(&self) -> Option<Duration> {
        None
    }
}

/// The time of a load that ends with its last request: longer than any load takes.
pub(crate) const TO_THE_END: Duration = Duration::from_mins(5);

/// The settings of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// The address of the server.
    pub(crate) address: SocketAddr,
    /// The number of connections, which is the number of requests in flight.
    pub(crate) connections: usize,
    /// The duration.
    pub(crate) time: Duration,
}

/// The measurements of a load.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The time until the last answer was complete.
    pub(crate) elapsed: Duration,
    /// The latencies of the answers in microseconds, ascending.
    pub(crate) latencies: Vec<u32>,
    /// The latencies of the first bytes in microseconds, ascending.
    pub(crate) first_bytes: Vec<u32>,
    /// Answers that were not 2xx.
    pub(crate) refused: usize,
    /// The number of bytes that were read.
    pub(crate) bytes: usize,
}

impl Measured {
    /// Adds a later turn of the same load.
    pub(crate) fn append(&mut self, later: Self) {
        self.elapsed += later.elapsed;
        self.add(later);
        self.latencies.sort_unstable();
        self.first_bytes.sort_unstable();
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.first_bytes.extend(other.first_bytes);
        self.refused += other.refused;
        self.bytes += other.bytes;
    }
}

/// Runs a load until its time is up. Fails if more than 1% of the answers are not 2xx, since the figures would then
/// not be those of the workload.
pub(crate) async fn run(load: Load, requests: Arc<dyn Requests>) -> anyhow::Result<Measured> {
    let measuring = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(drive(load, requests))
    });
    let measured = measuring.await??;
    ensure!(
        measured.refused * 100 <= measured.latencies.len(),
        "{} of {} answers were refusals",
        measured.refused,
        measured.latencies.len()
    );
    Ok(measured)
}

async fn drive(load: Load, requests: Arc<dyn Requests>) -> anyhow::Result<Measured> {
    let start = Arc::new(Barrier::new(load.connections + 1));
    let mut clients = JoinSet::new();
    for connection in 0..load.connections {
        let stream = TcpStream::connect(load.address).await.context("cannot connect to the server")?;
        stream.set_nodelay(true)?;
        clients.spawn(client(connection, stream, Arc::clone(&requests), Arc::clone(&start), load.time));
    }
    start.wait().await;
    let started = Instant::now();
    let mut measured = Measured::default();
    while let Some(samples) = clients.join_next().await {
        measured.add(samples??);
    }
    measured.elapsed = started.elapsed();
    measured.latencies.sort_unstable();
    measured.first_bytes.sort_unstable();
    Ok(measured)
}

/// Connections begin at different times, so that all of them together send evenly.
fn paced(interval: Duration, part: f64) -> tokio::time::Interval {
    tokio::time::interval_at(tokio::time::Instant::now() + interval.mul_f64(part), interval)
}

async fn client(
    connection: usize,
    mut stream: TcpStream,
    requests: Arc<dyn Requests>,
    start: Arc<Barrier>,
    time: Duration,
) -> anyhow::Result<Measured> {
    let mut random = StdRng::seed_from_u64(u64::try_from(connection)?);
    let mut samples = Measured::default();
    let (mut request, mut answer) = (Vec::new(), Answer::default());
    start.wait().await;
    let mut pace = requests.interval().map(|interval| paced(interval, random.random()));
    let until = Instant::now() + time;
    while Instant::now() < until {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        request.clear();
        if !requests.write(connection, &mut random, &mut request) {
            break;
        }
        let asked = Instant::now();
        stream.write_all(&request).await?;
        answer.clear();
        let mut first_byte = None;
        while !answer.is_complete()? {
            let read = stream.read_buf(&mut answer.bytes).await?;
            ensure!(read > 0, "the server closed the connection in the middle of an answer");
            first_byte.get_or_insert_with(|| asked.elapsed());
            samples.bytes += read;
        }
        samples.latencies.push(microseconds(asked.elapsed()));
        samples.first_bytes.push(microseconds(first_byte.unwrap_or_default()));
        samples.refused += usize::from(!answer.is_success());
    }
    Ok(samples)
}

/// Whole microseconds, at most an hour.
pub(crate) fn microseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
