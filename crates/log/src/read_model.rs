//! The port through which an append writes read models together with its events.

use async_trait::async_trait;
use sqlx::PgConnection;

use crate::recorded::Recorded;
use crate::writes::Writes;

/// Rows folded from events.
#[async_trait]
pub trait ReadModel: Send + Sync {
    /// Its name, the same as that of its table.
    fn name(&self) -> &'static str;

    /// A fold to which nothing is known yet.
    fn begin(&self) -> Box<dyn Fold>;

    /// Folds `events`, which follow without a gap on what was folded before, within the caller's transaction.
    async fn apply(&self, connection: &mut PgConnection, events: &[Recorded]) -> Result<(), ReadModelError> {
        let mut writes = Writes::default();
        self.begin().fold(connection, events, &mut writes).await?;
        let written = writes.execute(connection).await;
        written.map_err(|error| ReadModelError { read_model: self.name(), source: error.into() })
    }
}

/// A fold of batches that follow one another without a gap.
#[async_trait]
pub trait Fold: Send {
    /// Folds a batch, and says what is to be written. What the batch before came to is known, whether or not it is
    /// written by now; rows that it did not change are read, so all batches before that one must be committed.
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelError>;
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
