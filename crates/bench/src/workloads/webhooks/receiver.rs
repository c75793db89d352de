//! Receives webhooks, and notes how long after its event each arrived.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
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

/// A server with an endpoint that works, a slow one, and a dead one.
pub(super) struct Receiver {
    address: SocketAddr,
    arrivals: Arrivals,
    /// Ends with this.
    _server: JoinSet<()>,
}

/// How long after its event each delivery arrived, in microseconds.
type Arrivals = Arc<Mutex<Vec<u32>>>;

impl Receiver {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let arrivals = Arrivals::default();
        let router = Router::new()
            .route("/working", post(note))
            .route("/slow", post(async || tokio::time::sleep(SLOWNESS).await))
            .route("/dead", post(async || std::future::pending::<()>().await))
            .with_state(Arc::clone(&arrivals));
        let mut server = JoinSet::new();
        // It fails at no request: there is nothing to do with its outcome.
        server.spawn(async { drop(serve(listener, router).await) });
        Ok(Self { address, arrivals, _server: server })
    }

    /// The URL of an endpoint.
    pub(super) fn url(&self, endpoint: &str) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// Waits until `count` deliveries arrived, and forgets them. Returns their delays, ascending.
    pub(super) async fn take(&self, count: usize) -> anyhow::Result<Vec<u32>> {
        let since = Instant::now();
        while self.arrived().len() < count {
            ensure!(since.elapsed() < MAX_DELAY, "{} of {count} webhooks arrived", self.arrived().len());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let mut arrived = std::mem::take(&mut *self.arrived());
        arrived.sort_unstable();
        Ok(arrived)
    }

    fn arrived(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read of a delivery.
#[derive(Deserialize)]
struct Delivery {
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
    arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(microseconds(delay));
    StatusCode::OK
}
