//! One batch: take the head lock, decide every command in the order of arrival, write all that came of it.

use sqlx::PgConnection;
use time::Duration;

use crate::committer::{Tools, decide};
use crate::error::{AppendError, BatchError};
use crate::head::Head;
use crate::idempotency::{self, Used};
use crate::log::{Append, Committed};
use crate::record;
use crate::recorded::Recorded;
use crate::world::{Remembered, World};

/// The answer to one command of a batch.
pub(crate) type Outcome = Result<Committed, AppendError>;

/// What is worth keeping from one batch to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    head: Option<Head>,
    /// The position since which nobody else has written: what was looked up there or later still holds.
    alone_since: i64,
    aggregates: Remembered,
}

/// A batch that is written but for the commit.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The answer to each command.
    pub(crate) outcomes: Vec<Outcome>,
    /// All events, in order.
    pub(crate) events: Vec<Recorded>,
    /// What the next batch may go by once this one is committed.
    pub(crate) memory: Memory,
}

/// Opens a transaction, decides a batch and writes it; nothing stands until the caller commits.
pub(crate) async fn write(
    connection: &mut PgConnection,
    tools: &Tools,
    memory: Memory,
    appends: &[&Append],
) -> Result<Batch, BatchError> {
    let (mut head, unmoved) = Head::lock(connection, memory.head, appends).await?;
    let now = head.position();
    let alone_since = if unmoved { memory.alone_since } else { now };
    let mut world = World::remembering(memory.aggregates, alone_since);
    world.load(connection, tools.carrier.as_ref(), now, appends).await?;
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
        record::write(connection, &head, &events).await?;
        derive(connection, tools, &world, &events).await?;
    }
    for (append, outcome) in appends.iter().zip(&mut outcomes) {
        keep_answer(connection, append, outcome).await?;
    }
    let memory = Memory { head: Some(head), alone_since, aggregates: world.into_remembered() };
    Ok(Batch { outcomes, events, memory })
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
    let kept = repeatable.answer.compose(connection, committed).await?;
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

/// What else follows from the events: numbers taken, read models.
async fn derive(
    connection: &mut PgConnection,
    tools: &Tools,
    world: &World,
    events: &[Recorded],
) -> Result<(), BatchError> {
    if !world.numbers_taken().is_empty() {
        tools.carrier.claim(connection, world.numbers_taken()).await?;
    }
    for read_model in &tools.read_models {
        read_model.apply(connection, events).await?;
    }
    Ok(())
}
