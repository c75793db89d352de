//! The port through which an append writes read models in its own transaction.

use async_trait::async_trait;
use sqlx::PgConnection;

use crate::recorded::Recorded;

/// Rows folded from events.
#[async_trait]
pub trait ReadModel: Send + Sync {
    /// Its name, the same as that of its table.
    fn name(&self) -> &'static str;

    /// Folds `events`, which follow without a gap on what was folded before, within the caller's transaction.
    async fn apply(&self, connection: &mut PgConnection, events: &[Recorded]) -> Result<(), ReadModelError>;
}

/// Somebody in this process who wants to hear of every commit of this process before those who asked for it do.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// Takes note of the events of one commit, in order.
    fn committed(&self, events: &[Recorded]);
}

/// A read model could not be brought up to date.
#[derive(Debug, thiserror::Error)]
#[error("read model {read_model} failed")]
pub struct ReadModelError {
    /// Which.
    pub read_model: &'static str,
    /// Why.
    pub source: ReadModelFailure,
}

/// Why a read model could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelFailure {
    /// The database refused, or went away.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// A row is not what the fold wrote.
    #[error("stored document does not decode")]
    Document(#[from] serde_json::Error),
    /// The id of an aggregate is not of the form that its type has.
    #[error("aggregate id {0:?} is not a UUID")]
    NotAnId(String),
}
