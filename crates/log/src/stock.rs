//! A second reader of history. cqrs-es and postgres-es load aggregates from the table `events`, which has all columns that
//! their stock repository reads. [`compare_all`] and [`compare_sample`] compare the result with what our own reader folds.
//!
//! Nothing else of these crates is used: their replay ends silently when the connection breaks and does not follow
//! commit order, and their snapshots apply events twice.

use cqrs_es::persist::{PersistedEventRepository as _, PersistenceError};
use cqrs_es::{Aggregate as _, EventEnvelope};
use identity_domain::{Aggregate, Decider, Kind, State};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

use crate::error::ReadError;
use crate::event::recorded::Recorded;
use crate::read;
use crate::read::scan::{AggregateRange, Scan, Selection};

/// The state and version of one aggregate, loaded by postgres-es. The version is 0 if the aggregate has no events.
pub async fn load<D: Decider>(pool: &PgPool, aggregate_id: &str) -> Result<(D, usize), PersistenceError> {
    load_until(pool, aggregate_id, usize::MAX).await
}

/// The same of the events up to a version: others may be appended meanwhile.
async fn load_until<D: Decider>(
    pool: &PgPool,
    aggregate_id: &str,
    version: usize,
) -> Result<(D, usize), PersistenceError> {
    let repository = PostgresEventRepository::new(pool.clone());
    let (mut aggregate, mut sequence) = (Aggregate::<D>::default(), 0);
    for event in repository.get_events::<Aggregate<D>>(aggregate_id).await? {
        if event.sequence > version {
            break;
        }
        let envelope = EventEnvelope::<Aggregate<D>>::try_from(event)?;
        sequence = envelope.sequence;
        aggregate.apply(envelope.payload);
    }
    Ok((aggregate.0, sequence))
}

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many aggregates were loaded by both readers.
    pub aggregates: u64,
    /// Those that differ.
    pub differences: Vec<Difference>,
}

/// An aggregate that the two readers do not load alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its type.
    pub kind: Kind,
    /// Its id.
    pub aggregate_id: String,
    /// How they differ, in words.
    pub how: String,
}

/// Loads every aggregate of the log with both readers.
pub async fn compare_all(pool: &PgPool) -> Result<Compared, ReadError> {
    let upto = read::head(pool).await?;
    let mut compared = Compared::default();
    for kind in Kind::ALL {
        compared
            .range(pool, &AggregateRange { selection: Selection::all(kind), from: None, to: None, upto })
            .await?;
    }
    Ok(compared)
}

/// Loads aggregates with both readers: those to which events at `size` random positions belong.
pub async fn compare_sample(pool: &PgPool, size: u32) -> Result<Compared, ReadError> {
    let upto = read::head(pool).await?;
    let sample: Vec<(String, String)> = sqlx::query_as(
        "select distinct aggregate_type, aggregate_id
         from events
         where position = any(array(select 1 + floor(random() * $1)::bigint from generate_series(1, $2)))",
    )
    .bind(upto)
    .bind(i64::from(size))
    .fetch_all(pool)
    .await?;
    let mut compared = Compared::default();
    for (kind, id) in sample {
        if let Some(kind) = Kind::parse(&kind) {
            compared.range(pool, &AggregateRange::of_one(kind, &id, upto)).await?;
        }
    }
    Ok(compared)
}

impl Compared {
    /// Compares the aggregates of a range.
    async fn range(&mut self, pool: &PgPool, range: &AggregateRange) -> Result<(), ReadError> {
        let mut connection = pool.acquire().await?;
        let mut scan = Scan::begin(&mut connection, range).await?;
        let mut ours: Option<Folded> = None;
        while let Some(event) = scan.next().await? {
            match ours.as_mut().filter(|folded| folded.aggregate_id == event.aggregate_id) {
                Some(folded) => folded.evolve(&event),
                None => self.add(pool, ours.replace(Folded::begin(range.selection.kind, &event))).await?,
            }
        }
        self.add(pool, ours).await
    }

    async fn add(&mut self, pool: &PgPool, folded: Option<Folded>) -> Result<(), ReadError> {
        let Some(Folded { kind, aggregate_id, state, version }) = folded else { return Ok(()) };
        self.aggregates += 1;
        let how = match load_state(pool, kind, &aggregate_id, version).await {
            Ok(loaded) if loaded == (state, version) => return Ok(()),
            Ok((_, loaded)) if loaded != version => {
                format!("postgres-es reads {loaded} events, this service reads {version}")
            }
            Ok(_) => "the same events lead to another state".to_owned(),
            // That Postgres does not answer tells nothing of the aggregate.
            Err(PersistenceError::ConnectionError(error)) => return Err(ReadError::SecondReader(error)),
            Err(error) => format!("postgres-es cannot load it: {error}"),
        };
        self.differences.push(Difference { kind, aggregate_id, how });
        Ok(())
    }
}

/// An aggregate as our own reader folds it.
struct Folded {
    kind: Kind,
    aggregate_id: String,
    state: State,
    version: usize,
}

impl Folded {
    fn begin(kind: Kind, first: &Recorded) -> Self {
        let (aggregate_id, state) = (first.aggregate_id.clone(), State::initial(kind));
        let mut folded = Self { kind, aggregate_id, state, version: 0 };
        folded.evolve(first);
        folded
    }

    fn evolve(&mut self, event: &Recorded) {
        self.state.evolve(&event.event);
        self.version = usize::try_from(event.sequence).unwrap_or_default();
    }
}

async fn load_state(
    pool: &PgPool,
    kind: Kind,
    id: &str,
    version: usize,
) -> Result<(State, usize), PersistenceError> {
    match kind {
        Kind::Identity => load_as(State::Identity, pool, id, version).await,
        Kind::ApiKey => load_as(State::ApiKey, pool, id, version).await,
        Kind::Organization => load_as(State::Organization, pool, id, version).await,
        Kind::Vault => load_as(State::Vault, pool, id, version).await,
        Kind::VaultSecret => load_as(State::VaultSecret, pool, id, version).await,
        Kind::WebhookSubscription => load_as(State::WebhookSubscription, pool, id, version).await,
    }
}

async fn load_as<D: Decider>(
    wrap: fn(D) -> State,
    pool: &PgPool,
    id: &str,
    version: usize,
) -> Result<(State, usize), PersistenceError> {
    let (state, version) = load_until(pool, id, version).await?;
    Ok((wrap(state), version))
}
