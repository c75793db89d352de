//! One batch: take the head lock, decide every command in the order of arrival, write all that came of it.

use std::collections::HashMap;

use identity_domain::Event;
use sqlx::{PgConnection, Row};
use time::{Duration, OffsetDateTime};

use crate::committer::{Tools, decide};
use crate::envelope::Envelope;
use crate::error::{AppendError, BatchError};
use crate::idempotency::{self, Used};
use crate::log::{Append, Committed};
use crate::names;
use crate::recorded::Recorded;
use crate::world::{Remembered, World};

/// The answer to one command of a batch.
pub(crate) type Outcome = Result<Committed, AppendError>;

/// Decides and writes a batch within the caller's transaction; nothing stands until the caller commits.
pub(crate) async fn write(
    connection: &mut PgConnection,
    tools: &Tools,
    remembered: Remembered,
    appends: &[&Append],
) -> Result<(Vec<Outcome>, Remembered), BatchError> {
    let mut head = Head::lock(connection, appends).await?;
    let mut world = World::load(connection, tools.carrier.as_ref(), remembered, appends).await?;
    let mut used = idempotency::used(connection, appends).await?;
    let mut outcomes = Vec::with_capacity(appends.len());
    for append in appends {
        let outcome = if is_repeated(append, &used) {
            Err(AppendError::Repeated)
        } else {
            decide_one(append, &mut world, &mut head, tools)?
        };
        if let (Ok(_), Some(repeatable)) = (&outcome, &append.repeatable) {
            used.insert((append.organization_id.clone(), repeatable.key.clone()));
        }
        outcomes.push(outcome);
    }
    let events: Vec<Recorded> =
        outcomes.iter().flatten().flat_map(|done| done.events.iter().cloned()).collect();
    if !events.is_empty() {
        write_events(connection, &events).await?;
        head.advance(connection).await?;
        derive(connection, tools, &world, &events).await?;
    }
    for (append, outcome) in appends.iter().zip(&mut outcomes) {
        keep_answer(connection, append, outcome).await?;
    }
    Ok((outcomes, world.into_remembered()))
}

fn is_repeated(append: &Append, used: &Used) -> bool {
    let key =
        append.repeatable.as_ref().map(|repeatable| (append.organization_id.clone(), repeatable.key.clone()));
    key.is_some_and(|key| used.contains(&key))
}

/// Composes and keeps the answer to a write that may be repeated. A refused one leaves no record.
async fn keep_answer(
    connection: &mut PgConnection,
    append: &Append,
    outcome: &mut Outcome,
) -> Result<(), BatchError> {
    let (Ok(committed), Some(repeatable)) = (outcome, &append.repeatable) else {
        return Ok(());
    };
    let kept = repeatable.answer.compose(connection, committed).await.map_err(BatchError::Compose)?;
    idempotency::keep(connection, &append.organization_id, repeatable, &kept).await?;
    committed.kept = Some(kept);
    Ok(())
}

/// Decides one command. A refusal is its own answer; it leaves the others alone.
fn decide_one(
    append: &Append,
    world: &mut World,
    head: &mut Head,
    tools: &Tools,
) -> Result<Outcome, BatchError> {
    let (state, version) = world.state(append);
    if append.expected_version.is_some_and(|expected| expected != version) {
        return Ok(Err(AppendError::VersionConflict { actual: version }));
    }
    let now = head.next_moment()?;
    let hold = Duration::try_from(tools.settings.name_hold).unwrap_or(Duration::MAX);
    let facts = world.facts(append, hold, now);
    let events = match decide(&state, append, &facts) {
        Ok(events) => events,
        Err(rejection) => return Ok(Err(rejection.into())),
    };
    let mut recorded = Vec::with_capacity(events.len());
    for (event, sequence) in events.into_iter().zip(version + 1..) {
        let event = head.record(append, event, sequence, now);
        world.learn(&event);
        recorded.push(event);
    }
    Ok(Ok(Committed {
        version: version + i64::try_from(recorded.len()).unwrap_or(0),
        events: recorded,
        kept: None,
    }))
}

/// Where the log ends, while its lock is held.
struct Head {
    position: i64,
    recorded_at: OffsetDateTime,
    clock: OffsetDateTime,
    organizations: HashMap<String, i64>,
}

impl Head {
    /// Waits for the lock on the one row of `log_head`; whoever holds it is the only writer of the log.
    async fn lock(connection: &mut PgConnection, appends: &[&Append]) -> Result<Self, BatchError> {
        let head = sqlx::query(
            // The clock is read once the lock is held, so that whoever held it before us saw an earlier one.
            "with head as materialized (select position, recorded_at from log_head for update)
             select position, nullif(recorded_at, '-infinity') as recorded_at, clock_timestamp() as clock
             from head",
        )
        .fetch_one(&mut *connection)
        .await?;
        let clock: OffsetDateTime = head.try_get("clock")?;
        let recorded_at: Option<OffsetDateTime> = head.try_get("recorded_at")?;
        let organizations: Vec<&str> = appends.iter().map(|append| append.organization_id.as_str()).collect();
        let sequences: Vec<(String, i64)> = sqlx::query_as(
            "select organization_id, sequence from organization_heads where organization_id = any($1)",
        )
        .bind(organizations)
        .fetch_all(connection)
        .await?;
        Ok(Self {
            position: head.try_get("position")?,
            recorded_at: recorded_at.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            clock,
            organizations: sequences.into_iter().collect(),
        })
    }

    /// The moment of the next command: the database's clock, and later than every moment given before, so that no
    /// two commands share one and history can be asked for any moment without doubt.
    fn next_moment(&self) -> Result<OffsetDateTime, BatchError> {
        let after_last = self.recorded_at.checked_add(Duration::MICROSECOND).ok_or(BatchError::Clock)?;
        Ok(self.clock.max(after_last))
    }

    fn record(&mut self, append: &Append, event: Event, sequence: i64, now: OffsetDateTime) -> Recorded {
        self.position += 1;
        self.recorded_at = now;
        let organization_sequence = self.organizations.entry(append.organization_id.clone()).or_insert(0);
        *organization_sequence += 1;
        Recorded {
            position: self.position,
            organization_id: append.organization_id.clone(),
            organization_sequence: *organization_sequence,
            aggregate_id: append.aggregate_id.clone(),
            sequence,
            event,
            metadata: append.metadata.clone(),
            recorded_at: now,
        }
    }

    /// Writes where the log ends now, and tells whoever listens, once for the batch.
    async fn advance(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (organizations, sequences): (Vec<&str>, Vec<i64>) = self
            .organizations
            .iter()
            .map(|(organization, sequence)| (organization.as_str(), *sequence))
            .unzip();
        sqlx::query(
            "with head as (update log_head set position = $1, recorded_at = $2),
                  organizations as (
                      insert into organization_heads (organization_id, sequence)
                      select * from unnest($3::text[], $4::bigint[])
                      on conflict on constraint organization_heads_pkey do update set sequence = excluded.sequence
                  )
             select pg_notify('identityd_log', $1::text)",
        )
        .bind(self.position)
        .bind(self.recorded_at)
        .bind(organizations)
        .bind(sequences)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// All events of a batch in one statement.
async fn write_events(connection: &mut PgConnection, events: &[Recorded]) -> Result<(), BatchError> {
    let mut payloads = Vec::with_capacity(events.len());
    let mut metadata = Vec::with_capacity(events.len());
    let mut leaf_hashes = Vec::with_capacity(events.len());
    for event in events {
        let payload = event.event.encode()?;
        leaf_hashes.push(Envelope::of(event, &payload).leaf_hash()?.to_vec());
        metadata.push(serde_json::to_string(&event.metadata.0)?);
        payloads.push(payload.to_string());
    }
    sqlx::query(
        "insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                             event_type, event_version, payload, metadata, recorded_at, leaf_hash)
         select position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                event_type, event_version, payload::jsonb, metadata::jsonb, recorded_at, leaf_hash
         from unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
                     $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[], $12::bytea[])
              as batch (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                        event_type, event_version, payload, metadata, recorded_at, leaf_hash)",
    )
    .bind(column(events, |event| event.position))
    .bind(column(events, |event| event.organization_id.as_str()))
    .bind(column(events, |event| event.organization_sequence))
    .bind(column(events, |event| event.event.kind().as_str()))
    .bind(column(events, |event| event.aggregate_id.as_str()))
    .bind(column(events, |event| event.sequence))
    .bind(column(events, |event| event.event.name()))
    .bind(column(events, |event| event.event.version()))
    .bind(payloads)
    .bind(metadata)
    .bind(column(events, |event| event.recorded_at))
    .bind(leaf_hashes)
    .execute(connection)
    .await?;
    Ok(())
}

fn column<'a, T>(events: &'a [Recorded], value: impl Fn(&'a Recorded) -> T) -> Vec<T> {
    events.iter().map(value).collect()
}

/// Everything that follows from the events: claims on names, numbers taken, read models.
async fn derive(
    connection: &mut PgConnection,
    tools: &Tools,
    world: &World,
    events: &[Recorded],
) -> Result<(), BatchError> {
    let mut claims: HashMap<_, names::Claim> = HashMap::new();
    for claim in events.iter().flat_map(names::fold) {
        claims.insert((claim.namespace, claim.name.clone()), claim);
    }
    if !claims.is_empty() {
        names::write(connection, &claims.into_values().collect::<Vec<_>>()).await?;
    }
    if !world.numbers_taken().is_empty() {
        tools.carrier.claim(connection, world.numbers_taken()).await?;
    }
    for read_model in &tools.read_models {
        read_model.apply(connection, events).await?;
    }
    Ok(())
}
