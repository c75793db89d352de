//! Drafting a batch: every command is decided in the order of arrival, and nothing is written.

use identity_domain::webhook_subscription::{Command as SubscriptionCommand, Event as SubscriptionEvent};
use identity_domain::{Command, Event, Rejection};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::batch_context::BatchContext;
use super::ciphertexts;
use super::deps::Deps;
use super::head::{DraftedOn, LogHead};
use super::idempotency::{self, UsedKey, UsedKeys};
use super::last_batch::LastBatch;
use super::number_pool::NumberChange;
use super::queue::Outcome;
use super::record::record;
use super::statement::{AcceptedCommand, Writes};
use crate::append::{Append, Committed, Made};
use crate::error::{AppendError, BatchError};
use crate::event::recorded::Recorded;

/// A batch that is decided and not written.
pub(super) struct Draft {
    drafted_on: DraftedOn,
    /// The answer to each command.
    pub(super) outcomes: Vec<Outcome>,
    /// The events of all commands, in order.
    pub(super) events: Vec<Recorded>,
    /// The SQL of the batch.
    pub(super) writes: Writes,
    /// Phone numbers that the batch takes from the pool or releases, in the order in which it does.
    pub(super) numbers: Vec<NumberChange>,
}

impl Draft {
    /// The state of the log that the draft presumes.
    pub(super) fn into_drafted_on(self) -> DraftedOn {
        self.drafted_on
    }

    /// Whether the draft may be written while `head` is locked.
    pub(super) fn is_valid_at(&self, head: &LogHead) -> bool {
        self.drafted_on.is_valid_at(head)
    }

    /// Whether the draft can be written by one statement. A draft without events cannot: the statement would write
    /// nothing, and so would not check that the log has not moved.
    pub(super) fn is_one_statement(&self, appends: &[&Append]) -> bool {
        let keeps_answers = appends
            .iter()
            .zip(&self.outcomes)
            .any(|(append, outcome)| append.repeatable.is_some() && outcome.is_ok());
        !self.events.is_empty() && self.numbers.is_empty() && self.writes.is_one_statement() && !keeps_answers
    }
}

/// Decides a batch. Also returns the state for the next batch, which is right once this batch is committed.
pub(super) async fn draft(
    connection: &mut PgConnection,
    deps: &Deps,
    last_batch: LastBatch,
    appends: &[&Append],
) -> Result<(Draft, LastBatch), BatchError> {
    let LastBatch {
        mut head,
        no_other_writer_since,
        no_other_writer,
        aggregates,
        used_keys: last_used,
        mut folds,
    } = last_batch;
    head.load_organizations(connection, appends).await?;
    let drafted_on = DraftedOn::of(&head);
    let mut context = BatchContext::with_cache(aggregates, no_other_writer_since);
    let rested_since = rested_since(&head, deps);
    context.load(connection, &deps.read_models, rested_since, drafted_on.position, appends).await?;
    let mut used = idempotency::used_keys(connection, appends).await?;
    used.extend(last_used);
    let Decided { mut outcomes, accepted, used_keys } =
        decide_all(appends, &mut context, &mut head, deps, &used)?;
    let events: Vec<Recorded> =
        outcomes.iter().flatten().flat_map(|done| done.all_events().cloned()).collect();
    let (changes, aggregates) = context.into_changes(drafted_on.position);
    let has_accepted = !accepted.is_empty();
    let mut writes = Writes::of_batch(&drafted_on, deps.process, head.position(), head.recorded_at())?
        .of_commands(accepted);
    if !events.is_empty() {
        let payload_bytes = record(&events, &head, &changes.claims, &deps.settings.seal_key, &mut writes)?;
        note_payload_bytes(&mut outcomes, payload_bytes);
        changes.subscriptions.write(&mut writes)?;
        ciphertexts::record(appends, &outcomes, &mut writes)?;
    }
    if has_accepted {
        if folds.is_empty() {
            folds.extend(deps.read_models.iter().map(|read_model| read_model.begin()));
        }
        for fold in &mut folds {
            fold.fold(connection, &events, &mut writes).await?;
        }
        for (place, committed) in outcomes.iter_mut().flatten().enumerate() {
            committed.made = writes.take_made(place);
        }
    }
    let draft = Draft { drafted_on, outcomes, events, writes, numbers: changes.numbers };
    Ok((draft, LastBatch { head, no_other_writer_since, no_other_writer, aggregates, used_keys, folds }))
}

/// Notes the size of the events of each command. `payload_bytes` has the size of each event of the batch, in order.
fn note_payload_bytes(outcomes: &mut [Outcome], payload_bytes: Vec<u64>) {
    let mut payload_bytes = payload_bytes.into_iter();
    for committed in outcomes.iter_mut().flatten() {
        let events = committed.all_events().count();
        committed.payload_bytes = payload_bytes.by_ref().take(events).sum();
    }
}

/// Phone numbers released at or before this moment are free again: the database time minus `name_hold`.
fn rested_since(head: &LogHead, deps: &Deps) -> OffsetDateTime {
    let hold = Duration::try_from(deps.settings.name_hold).unwrap_or(Duration::MAX);
    head.clock().checked_sub(hold).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// The decisions of a batch.
struct Decided {
    outcomes: Vec<Outcome>,
    accepted: Vec<AcceptedCommand>,
    /// The idempotency keys of the accepted commands.
    used_keys: UsedKeys,
}

/// Decides the commands in order. Refuses a command whose actor may not act any more, or whose idempotency key was
/// used before.
fn decide_all(
    appends: &[&Append],
    context: &mut BatchContext,
    head: &mut LogHead,
    deps: &Deps,
    used: &UsedKeys,
) -> Result<Decided, BatchError> {
    let mut outcomes = Vec::with_capacity(appends.len());
    let mut accepted = Vec::with_capacity(appends.len());
    let mut used_keys = UsedKeys::new();
    for append in appends {
        if !context.may_act(append, head.next_moment()?) {
            outcomes.push(Err(AppendError::KeyRevoked));
            continue;
        }
        let key = UsedKey::of(append);
        if key.as_ref().is_some_and(|key| used.contains(key) || used_keys.contains(key)) {
            outcomes.push(Err(AppendError::Repeated));
            continue;
        }
        let outcome = decide(append, context, head, deps)?;
        if outcome.is_ok() {
            accepted.push(AcceptedCommand {
                kind: append.command.kind(),
                aggregate_id: append.aggregate_id.clone(),
                position: head.position(),
                shown_access: append.shown_access,
            });
        }
        used_keys.extend(key.filter(|_| outcome.is_ok()));
        outcomes.push(outcome);
    }
    Ok(Decided { outcomes, accepted, used_keys })
}

/// Decides one command, and the one that is carried out with it. A refusal is the answer to this command and does not affect
/// the others.
fn decide(
    append: &Append,
    context: &mut BatchContext,
    head: &mut LogHead,
    deps: &Deps,
) -> Result<Outcome, BatchError> {
    let version = context.version(append);
    if append.expected_version.is_some_and(|expected| expected != version) {
        return Ok(Err(AppendError::VersionConflict { actual: version }));
    }
    let now = head.next_moment()?;
    let mut decided = Vec::new();
    for append in append.commands().collect::<Vec<_>>().into_iter().rev() {
        match decide_alone(append, context, deps, now) {
            Ok(events) => decided.push((append, events)),
            Err(rejection) => return Ok(Err(rejection.into())),
        }
    }
    let events = match decided.pop() {
        Some((append, events)) => record_all(append, events, context, head, now),
        None => vec![],
    };
    let mut further = Vec::new();
    for (companion, events) in decided.into_iter().filter(|_| !events.is_empty()) {
        further.extend(record_all(companion, events, context, head, now));
    }
    further.extend(end_subscriptions(append, &events, context, head, now));
    let version = version + i64::try_from(events.len()).unwrap_or(0);
    Ok(Ok(Committed { version, events, further, kept: None, made: Made::default(), payload_bytes: 0 }))
}

/// The events of a command, which are not recorded yet.
fn decide_alone(
    append: &Append,
    context: &BatchContext,
    deps: &Deps,
    now: OffsetDateTime,
) -> Result<Vec<Event>, Rejection> {
    let facts = context.facts(append, &deps.settings, now);
    // `None` means that the command is not one of this kind of aggregate: a defect of the caller. It changes nothing.
    context.state(append).decide(&append.command, &facts).unwrap_or(Ok(vec![]))
}

fn record_all(
    append: &Append,
    events: Vec<Event>,
    context: &mut BatchContext,
    head: &mut LogHead,
    now: OffsetDateTime,
) -> Vec<Recorded> {
    let mut recorded = Vec::with_capacity(events.len());
    for (event, sequence) in events.into_iter().zip(context.version(append) + 1..) {
        let event = head.record(append, event, sequence, now);
        context.apply(&event);
        recorded.push(event);
    }
    recorded
}

/// Ends the webhook subscriptions whose identity was deleted, or whose phone number was released, by these events.
fn end_subscriptions(
    append: &Append,
    events: &[Recorded],
    context: &mut BatchContext,
    head: &mut LogHead,
    now: OffsetDateTime,
) -> Vec<Recorded> {
    let mut ends = Vec::new();
    for event in events {
        for (id, reason) in context.subscriptions_ended_by(event) {
            let command = Command::WebhookSubscription(SubscriptionCommand::Delete(reason));
            let append = append.followed_by(id.to_string(), command);
            let deleted = Event::WebhookSubscription(SubscriptionEvent::Deleted { reason });
            ends.extend(record_all(&append, vec![deleted], context, head, now));
        }
    }
    ends
}
