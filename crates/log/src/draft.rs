//! What a batch comes to, before any of it is written: every command decided in the order of arrival.
//!
//! A batch is drafted on what is known of the log, or on what the batch that is being written will have made of it. A draft
//! holds if the log ends where it says when its turn comes, soon enough, and no read model was made anew: then nobody else has
//! written, and no event, claim or row that it has read can have changed.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::batch_context::{AggregateCache, BatchContext};
use crate::committer::Deps;
use crate::error::{AppendError, BatchError};
use crate::head::Head;
use crate::idempotency::{self, Used, UsedKey};
use crate::log::{Append, Committed};
use crate::read_model::Fold;
use crate::record::record;
use crate::recorded::Recorded;
use crate::writes::Writes;

/// How long before its turn the moments of a draft may lie. Whoever asks about a moment that has just passed waits as long,
/// and so is told of all events that bear it or an earlier one.
pub(crate) const LONGEST_DRAFT: std::time::Duration = std::time::Duration::from_millis(50);

/// How long the clock of the database is reckoned on from when it was last read.
const LONGEST_RECKONING: std::time::Duration = std::time::Duration::from_secs(1);

/// The answer to one command of a batch.
pub(crate) type Outcome = Result<Committed, AppendError>;

/// What is known of the log from one batch to the next.
pub(crate) struct LastBatch {
    head: Head,
    /// The position since which nobody else has written: what was looked up there or later still holds.
    no_other_writer_since: i64,
    /// Whether nobody wrote between the last two batches, so that a draft is likely to hold.
    no_other_writer: bool,
    aggregates: AggregateCache,
    /// Idempotency keys of the last batch.
    used: Used,
    /// The folds of all read models, once there was a batch.
    folds: Vec<Box<dyn Fold>>,
}

impl LastBatch {
    /// What is still known under a lock that found the head like this. Where it is where it was, everything is.
    pub(crate) fn resume(last: Option<Self>, found: Head) -> Self {
        match last {
            Some(last) if last.head.is_where(&found) => {
                Self { head: last.head.at(&found), no_other_writer: true, ..last }
            }
            last => {
                let aggregates =
                    last.map(|last| last.aggregates.of_old(found.position())).unwrap_or_default();
                Self { aggregates, ..Self::of(found) }
            }
        }
    }

    /// What is known where a draft does not hold: nothing that came of it. One that is merely late was no_other_writer.
    pub(crate) fn after_rejected(draft: &Draft, found: Head) -> Self {
        Self { no_other_writer: draft.drafted_on.is_of(&found), ..Self::of(found) }
    }

    fn of(head: Head) -> Self {
        let no_other_writer_since = head.position();
        Self {
            head,
            no_other_writer_since,
            no_other_writer: false,
            aggregates: AggregateCache::default(),
            used: Used::new(),
            folds: vec![],
        }
    }

    /// What is known if the batch that is being written is committed, and nobody else writes before the next.
    pub(crate) fn expecting(self) -> Self {
        Self { head: self.head.by_now(), ..self }
    }

    /// The same with the clock that the lock was taken by.
    pub(crate) fn at(self, found: &Head) -> Self {
        Self { head: self.head.at(found), ..self }
    }

    /// Whether these commands can be decided before their turn: what they need is looked up by keys, and what a batch that
    /// is being written does to those is known; and so is what time it is.
    pub(crate) fn can_draft_ahead(&self, appends: &[&Append]) -> bool {
        self.no_other_writer
            && self.head.clock_read().elapsed() < LONGEST_RECKONING
            && appends.iter().all(|append| BatchContext::is_known_by_keys(append))
    }
}

/// What a draft takes for granted.
pub(crate) struct DraftedOn {
    /// Where the log ends.
    pub(crate) position: i64,
    /// How often a read model was made anew.
    pub(crate) generation: i64,
    /// When it is too late, by the clock of the database: the events bear the moment at which the draft was begun.
    pub(crate) latest: OffsetDateTime,
}

impl DraftedOn {
    fn of(head: &Head) -> Self {
        let latest = head.clock() + LONGEST_DRAFT;
        Self { position: head.position(), generation: head.generation(), latest }
    }

    fn is_of(&self, head: &Head) -> bool {
        self.position == head.position() && self.generation == head.generation()
    }
}

/// A batch that is decided.
pub(crate) struct Draft {
    /// What it is drafted on.
    drafted_on: DraftedOn,
    /// The answer to each command.
    pub(crate) outcomes: Vec<Outcome>,
    /// All events, in order.
    pub(crate) events: Vec<Recorded>,
    /// What is written.
    pub(crate) writes: Writes,
    /// Phone numbers that are taken, each with the identity that has it.
    pub(crate) numbers: Vec<(String, Uuid)>,
}

impl Draft {
    /// Whether it holds under a lock that found the head like this.
    pub(crate) fn is_valid_at(&self, found: &Head) -> bool {
        self.drafted_on.is_of(found) && found.clock() < self.drafted_on.latest
    }

    /// Whether it can take its turn by one statement. Who writes nothing must know, too, that nobody else has.
    pub(crate) fn is_one_statement(&self, appends: &[&Append]) -> bool {
        let answers = appends
            .iter()
            .zip(&self.outcomes)
            .any(|(append, outcome)| append.repeatable.is_some() && outcome.is_ok());
        !self.events.is_empty() && self.numbers.is_empty() && self.writes.are_one() && !answers
    }
}

/// Decides a batch. Gives back what is known once it is written.
pub(crate) async fn draft(
    connection: &mut PgConnection,
    deps: &Deps,
    last_batch: LastBatch,
    appends: &[&Append],
) -> Result<(Draft, LastBatch), BatchError> {
    let LastBatch { mut head, no_other_writer_since, no_other_writer, aggregates, used: recently, mut folds } =
        last_batch;
    head.load_organizations(connection, appends).await?;
    let drafted_on = DraftedOn::of(&head);
    let mut context = BatchContext::with_cache(aggregates, no_other_writer_since);
    context.load(connection, deps.carrier.as_ref(), drafted_on.position, appends).await?;
    let mut used = idempotency::used(connection, appends).await?;
    used.extend(recently);
    let mut outcomes = Vec::with_capacity(appends.len());
    let mut recently = Used::new();
    for append in appends {
        if !context.may_act(append) {
            outcomes.push(Err(AppendError::KeyRevoked));
            continue;
        }
        let key = UsedKey::of(append);
        if key.as_ref().is_some_and(|key| used.contains(key) || recently.contains(key)) {
            outcomes.push(Err(AppendError::Repeated));
            continue;
        }
        let outcome = decide(append, &mut context, &mut head, deps)?;
        recently.extend(key.filter(|_| outcome.is_ok()));
        outcomes.push(outcome);
    }
    let events: Vec<Recorded> =
        outcomes.iter().flatten().flat_map(|done| done.events.iter().cloned()).collect();
    let (claims, numbers, aggregates) = context.settle(drafted_on.position);
    let mut writes = Writes::of_batch(&drafted_on, head.position(), head.recorded_at())?;
    if !events.is_empty() {
        record(&events, &head, &claims, &mut writes)?;
        if folds.is_empty() {
            folds.extend(deps.read_models.iter().map(|read_model| read_model.begin()));
        }
        for fold in &mut folds {
            fold.fold(connection, &events, &mut writes).await?;
        }
    }
    let draft = Draft { drafted_on, outcomes, events, writes, numbers };
    Ok((draft, LastBatch { head, no_other_writer_since, no_other_writer, aggregates, used: recently, folds }))
}

/// Decides one command. A refusal is its own answer; it leaves the others no_other_writer.
fn decide(
    append: &Append,
    context: &mut BatchContext,
    head: &mut Head,
    deps: &Deps,
) -> Result<Outcome, BatchError> {
    let version = context.version(append);
    if append.expected_version.is_some_and(|expected| expected != version) {
        return Ok(Err(AppendError::VersionConflict { actual: version }));
    }
    let now = head.next_moment()?;
    let hold = Duration::try_from(deps.settings.name_hold).unwrap_or(Duration::MAX);
    let facts = context.facts(append, hold, now);
    // A command that a state of another kind cannot decide is a defect of the caller, not of the data.
    let events = match context.state(append).decide(&append.command, &facts).unwrap_or(Ok(vec![])) {
        Ok(events) => events,
        Err(rejection) => return Ok(Err(rejection.into())),
    };
    let mut recorded = Vec::with_capacity(events.len());
    for (event, sequence) in events.into_iter().zip(version + 1..) {
        let event = head.record(append, event, sequence, now);
        context.learn(&event);
        recorded.push(event);
    }
    Ok(Ok(Committed {
        version: version + i64::try_from(recorded.len()).unwrap_or(0),
        events: recorded,
        kept: None,
    }))
}
