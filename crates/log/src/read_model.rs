//! The port through which a batch updates read models in the transaction of its events.

use async_trait::async_trait;
use identity_domain::Kind;
use sqlx::PgConnection;

use crate::error::ReadModelError;
use crate::event::recorded::Recorded;
use crate::write::decision_state::StoredState;
use crate::write::statement::Writes;

/// A table whose rows are folded from events.
#[async_trait]
pub trait ReadModel: Send + Sync {
    /// Its name, which is also the name of its table.
    fn name(&self) -> &'static str;

    /// A fold that has read nothing yet.
    fn begin(&self) -> Box<dyn Fold>;

    /// The last states of these aggregates that this read model has stored: at most one of each. An aggregate without one is read
    /// from its first event, so a read model may have stored none.
    async fn last_states(
        &self,
        _connection: &mut PgConnection,
        _kind: Kind,
        _ids: &[&str],
    ) -> Result<Vec<StoredState>, ReadModelError> {
        Ok(vec![])
    }

    /// Folds `events` and writes the rows in the caller's transaction. `events` follow without a gap on the events that
    /// the table already contains.
    async fn apply(&self, connection: &mut PgConnection, events: &[Recorded]) -> Result<(), ReadModelError> {
        let mut writes = Writes::default();
        self.begin().fold(connection, events, &mut writes).await?;
        let written = writes.execute(connection).await;
        written.map_err(|error| ReadModelError { read_model: self.name(), source: error.into() })
    }
}

/// Folds batches that follow one another without a gap.
#[async_trait]
pub trait Fold: Send {
    /// Folds a batch, and adds the rows that it changes to `writes`.
    ///
    /// The fold keeps the rows of the previous batch in memory, so that batch need not be committed yet. All other rows
    /// are read from the table, so every batch before the previous one must be committed.
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        events: &[Recorded],
        writes: &mut Writes,
    ) -> Result<(), ReadModelError>;
}

/// Is notified of every batch of this process: `sending` first, then exactly one of `committed`, `not_written` and
/// `outcome_unknown`. Batches do not overlap.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// These events are sent to Postgres. From now on others may see them before this process knows that they are committed.
    fn sending(&self, events: &[Recorded]);

    /// The events are committed, in order. The callers are answered afterwards.
    fn committed(&self, events: &[Recorded]);

    /// The events that were sent were not written, and will not be.
    fn not_written(&self);

    /// Nobody knows whether the events that were sent are committed, or will be.
    fn outcome_unknown(&self);
}
