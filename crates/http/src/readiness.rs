//! Whether the service answers yet, and what it does until then.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Instant;

use sqlx::PgPool;
use tokio::sync::{Mutex, watch};

/// What keeps the service from answering; nothing once it is ready.
pub type Readiness = watch::Receiver<Option<Preparation>>;

/// The rebuild of a read model whose table is of an older version than the software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// Which.
    pub read_model: &'static str,
    /// What is being done.
    pub phase: String,
    /// Events that were read.
    pub done: u64,
    /// Events that are to be read.
    pub total: u64,
}

impl Display for Preparation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read_model, phase, done, total } = self;
        write!(formatter, "rebuilding read model {read_model}: {phase}, {done} of {total} events")
    }
}

/// Asks the database whether it answers and has our tables. One question at a time: all who ask while it is under way are
/// answered by the next one.
#[derive(Debug, Default)]
pub(crate) struct Probe(Mutex<Option<Probed>>);

#[derive(Debug)]
struct Probed {
    asked: Instant,
    outcome: Result<(), Arc<sqlx::Error>>,
}

impl Probe {
    /// What the database says at a moment after this is called.
    pub(crate) async fn ask(&self, pool: &PgPool) -> Result<(), Arc<sqlx::Error>> {
        let called = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(Probed { outcome, .. }) = last.as_ref().filter(|probed| probed.asked >= called) {
            return outcome.clone();
        }
        let asked = Instant::now();
        let outcome = sqlx::query("select from log_head").execute(pool).await.map(drop).map_err(Arc::new);
        *last = Some(Probed { asked, outcome: outcome.clone() });
        outcome
    }
}
