//! Loads single aggregates with cqrs-es and postgres-es. The table `events` has all columns that their stock
//! repository reads.
//!
//! Nothing else of these crates is used: their replay ends silently when the connection breaks and does not follow
//! commit order, and their snapshots apply events twice.

use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateError, EventStore};
use identity_domain::{Aggregate, Decider};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

/// The state and version of one aggregate, loaded by postgres-es. The version is 0 if the aggregate has no events.
pub async fn load<D: Decider>(
    pool: &PgPool,
    aggregate_id: &str,
) -> Result<(D, usize), AggregateError<D::Error>> {
    let repository = PostgresEventRepository::new(pool.clone());
    let store = PersistedEventStore::<_, Aggregate<D>>::new_event_store(repository);
    let context = store.load_aggregate(aggregate_id).await?;
    Ok((context.aggregate.0, context.current_sequence))
}
