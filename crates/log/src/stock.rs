//! The seam to cqrs-es and postgres-es: our table is a superset of theirs, so their stock repository loads our
//! aggregates. It is used for that alone. Its replay ends silently when the connection breaks and does not know the
//! order of commits, and its snapshots apply events twice.

use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateError, EventStore};
use identity_domain::{Aggregate, Decider};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

/// The state of one aggregate and its version, as postgres-es loads them; version 0 if it has no events.
pub async fn load<D: Decider>(
    pool: &PgPool,
    aggregate_id: &str,
) -> Result<(D, usize), AggregateError<D::Error>> {
    let repository = PostgresEventRepository::new(pool.clone());
    let store = PersistedEventStore::<_, Aggregate<D>>::new_event_store(repository);
    let context = store.load_aggregate(aggregate_id).await?;
    Ok((context.aggregate.0, context.current_sequence))
}
