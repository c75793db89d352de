//! Whether the service answers yet, and what it does until then.

use std::fmt::{self, Display};

use tokio::sync::watch;

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
