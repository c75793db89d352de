//! Receives webhooks, and notes how long after its event each arrived.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Router, serve};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::load::microseconds;

/// After how long the slow endpoint answers. The dead one never does.
const SLOWNESS: Duration = Duration::from_secs(5);

/// How long the last deliveries may take.
const MAX_DELAY: Duration = Duration::from_mins(1);

/// How often arrivals are counted meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A server with an endpoint that works, one that works and notes nothing, a slow one, a dead one, and one that refuses everything.
pub(crate) struct Receiver {
    address: SocketAddr,
    arrivals: Arrivals,
    history: History,
    /// Ends with this.
    _server: JoinSet<()>,
}

/// How long after it happened each event arrived for the first time, in microseconds, by its id.
type Arrivals = Arc<Mutex<HashMap<String, u32>>>;

/// The sequences of the events of a history, as far as they were accepted.
type History = Arc<Mutex<Vec<i64>>>;

/// The endpoint of the history refuses one event of so many.
const ONE_REFUSED_OF: u32 = 250;

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (arrivals, history) = (Arrivals::default(), History::default());
        let router = Router::new()
            .route("/working", post(note))
            .route("/uncounted", post(async || {}))
            .route("/slow", post(async || tokio::time::sleep(SLOWNESS).await))
            .route("/dead", post(async || std::future::pending::<()>().await))
            .route("/refusing", post(async || StatusCode::INTERNAL_SERVER_ERROR))
            .with_state(Arc::clone(&arrivals))
            .merge(Router::new().route("/history", post(accept_most)).with_state(Arc::clone(&history)));
        let mut server = JoinSet::new();
        // It fails at no request: there is nothing to do with its outcome.
        server.spawn(async { drop(serve(listener, router).await) });
        Ok(Self { address, arrivals, history, _server: server })
    }

    /// The URL of an endpoint.
    pub(crate) fn url(&self, endpoint: &str) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// Waits until `count` events arrived, and forgets them. Returns their delays, ascending. Fails if there are more.
    pub(crate) async fn take(&self, count: usize) -> anyhow::Result<Vec<u32>> {
        let since = Instant::now();
        while self.arrived().len() < count {
            ensure!(since.elapsed() < MAX_DELAY, "{} of {count} webhooks arrived", self.arrived().len());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let arrived = std::mem::take(&mut *self.arrived());
        ensure!(arrived.len() == count, "{} webhooks arrived, and {count} were expected", arrived.len());
        let mut delays: Vec<u32> = arrived.into_values().collect();
        delays.sort_unstable();
        Ok(delays)
    }

    /// Waits until `count` events of a history were accepted. Returns their sequences in the order of their arrival.
    pub(crate) async fn history(&self, count: usize, limit: Duration) -> anyhow::Result<Vec<i64>> {
        let since = Instant::now();
        let accepted = || self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        while accepted().len() < count {
            ensure!(since.elapsed() < limit, "{} of {count} events were accepted", accepted().len());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(accepted())
    }

    fn arrived(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read of a delivery.
#[derive(Deserialize)]
struct Delivery {
    id: String,
    /// When its event was recorded, by the clock of this machine: just before its commit.
    timestamp: String,
}

#[expect(clippy::disallowed_methods, reason = "the database is on this machine, so both have one clock")]
async fn note(State(arrivals): State<Arrivals>, body: Bytes) -> StatusCode {
    let Ok(delivery) = serde_json::from_slice::<Delivery>(&body) else { return StatusCode::BAD_REQUEST };
    let Ok(event) = OffsetDateTime::parse(&delivery.timestamp, &Rfc3339) else {
        return StatusCode::BAD_REQUEST;
    };
    let delay = Duration::try_from(OffsetDateTime::now_utc() - event).unwrap_or_default();
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    arrivals.entry(delivery.id).or_insert_with(|| microseconds(delay));
    StatusCode::OK
}

/// What is read of an event of a history.
#[derive(Deserialize)]
struct Event {
    organization_sequence: i64,
}

async fn accept_most(State(history): State<History>, body: Bytes) -> StatusCode {
    if rand::random_ratio(1, ONE_REFUSED_OF) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let Ok(event) = serde_json::from_slice::<Event>(&body) else { return StatusCode::BAD_REQUEST };
    history.lock().unwrap_or_else(PoisonError::into_inner).push(event.organization_sequence);
    StatusCode::OK
}
