//! The rows of the queue: which subscriptions get which event.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use identity_domain::webhook_subscription::catalog::type_of;
use identity_log::{Recorded, ids};
use identity_projections::identities::{self, IdentityBody, Sight};
use sqlx::PgConnection;
use uuid::Uuid;

use super::QueueError;
use super::audience::{Audience, Owners, Told};
use super::former::{self, FormerViewers};
use super::granted::Granted;
use super::payload::{self, Named};
use super::share::{Place, Shares};
use super::subscribers::{Subscribers, Subscription};

/// After how many rows a step ends, at the next event.
const MAX_ROWS: usize = 1024;

/// How many receivers are looked at in one query. All that they see is in memory at the same time.
const MAX_SIGHTS: usize = 128;

/// After how many bytes of payloads it ends.
const MAX_BYTES: usize = 4 << 20;

/// A row of the queue.
pub(super) struct Row {
    position: i64,
    pub(super) subscription: Arc<Subscription>,
    subject_id: Uuid,
    shown_id: Option<Uuid>,
    event_id: String,
    event_type: &'static str,
    payload: String,
}

impl Row {
    /// How large its payload is.
    pub(super) const fn bytes(&self) -> usize {
        self.payload.len()
    }
}

/// What a step queues.
#[derive(Default)]
pub(super) struct Queued {
    pub(super) rows: Vec<Row>,
    /// The organizations whose share was used up, and how far their events are among the rows.
    pub(super) late: HashMap<String, Place>,
    /// Up to which position the events of all others are, if not all of them are.
    pub(super) upto: Option<i64>,
}

/// The rows for these events, as far as there is room. Of an organization that is late, they begin at its place.
pub(super) async fn queued(
    connection: &mut PgConnection,
    events: &[Recorded],
    from: Option<Place>,
) -> Result<Queued, QueueError> {
    let typed = events.iter().filter_map(|event| Some((event, type_of(&event.event)?))).collect::<Vec<_>>();
    let subscribers = Subscribers::load(connection, &typed).await?;
    let mut shares = Shares::default();
    let is_wanted = |(event, event_type): &(&Recorded, &str)| {
        subscribers.of(event, event_type).next().is_some() && shares.admit(event, former::is_hiding(event))
    };
    let wanted: Vec<_> = typed.into_iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Ok(Queued::default());
    }
    let deliverable = deliverable(connection, &wanted, &subscribers, from).await?;
    let mut receivers = receivers(&deliverable);
    let (mut rows, mut bytes, mut upto): (Vec<Row>, usize, Option<i64>) = (vec![], 0, None);
    while upto.is_none() {
        let some = next_of(&mut receivers, &mut shares);
        if some.is_empty() {
            break;
        }
        let seen = Seen::load(connection, &some).await?;
        for (told, subscription) in some {
            let is_next = rows.last().is_none_or(|row| row.position != told.event.position);
            if is_next && (rows.len() >= MAX_ROWS || bytes >= MAX_BYTES) {
                upto = Some(told.event.position - 1);
                break;
            }
            if !shares.has_room(told.event) {
                continue;
            }
            let row = row(told, subscription, &seen)?;
            shares.take(told.event, subscription.id, row.as_ref().map(|row| row.payload.len()));
            bytes += row.as_ref().map_or(0, |row| row.payload.len());
            rows.extend(row);
        }
    }
    Ok(Queued { rows, late: shares.used_up(upto.unwrap_or(i64::MAX)), upto })
}

/// An event with the subscriptions that may get it.
type Deliverable<'a> = (Told<'a>, Vec<Arc<Subscription>>);

/// One of those subscriptions.
type Receiver<'a> = (&'a Told<'a>, &'a Arc<Subscription>);

fn receivers<'a>(deliverable: &'a [Deliverable<'a>]) -> VecDeque<Receiver<'a>> {
    deliverable.iter().flat_map(|(told, all)| all.iter().map(move |one| (told, one))).collect()
}

/// The next receivers for which there is room.
fn next_of<'a>(all: &mut VecDeque<Receiver<'a>>, shares: &mut Shares) -> Vec<Receiver<'a>> {
    let next = std::iter::from_fn(|| all.pop_front());
    next.filter(|(told, _)| shares.has_room(told.event)).take(MAX_SIGHTS).collect()
}

/// The events with the subscriptions that may get them, in the order of the subscriptions.
async fn deliverable<'a>(
    connection: &mut PgConnection,
    wanted: &[(&'a Recorded, &'static str)],
    subscribers: &Subscribers,
    from: Option<Place>,
) -> Result<Vec<Deliverable<'a>>, QueueError> {
    let owners = Owners::load(connection, wanted).await?;
    let hiding = wanted.iter().map(|(event, _)| *event);
    let former = FormerViewers::load(connection, hiding, &subscribers.identities()).await?;
    let told: Vec<Told<'a>> =
        wanted.iter().filter_map(|(event, event_type)| owners.told(event, event_type, &former)).collect();
    let shown: HashSet<Uuid> =
        told.iter().filter(|told| told.audience == Audience::Viewers).map(|told| told.subject).collect();
    let granted = Granted::load(connection, &shown.into_iter().collect::<Vec<_>>()).await?;
    let with_subscriptions = |told: Told<'a>| {
        let all = subscribers.of(told.event, told.event_type);
        let may_get = |subscription: &&Arc<Subscription>| {
            let identity = subscription.identity_id;
            let is_granted = || identity == told.subject || granted.may_show(told.subject, identity);
            told.includes(identity) && (told.audience != Audience::Viewers || is_granted())
        };
        let is_queued = |subscription: &Subscription| {
            from.is_some_and(|from| {
                from.sequence + 1 == told.event.organization_sequence
                    && from.endpoint_id.is_some_and(|endpoint| subscription.id <= endpoint)
            })
        };
        let mut subscriptions: Vec<_> =
            all.filter(may_get).filter(|subscription| !is_queued(subscription)).cloned().collect();
        subscriptions.sort_unstable_by_key(|subscription| subscription.id);
        (told, subscriptions)
    };
    Ok(told.into_iter().map(with_subscriptions).collect())
}

/// The row of a receiver. A viewer that does not see the identity gets none, unless the event says just that: then it gets one if it
/// is active, since an identity that is paused sees no other one.
fn row(
    told: &Told<'_>,
    subscription: &Arc<Subscription>,
    seen: &Seen<'_>,
) -> Result<Option<Row>, QueueError> {
    let shown = seen.shown.get(&sight(told, subscription));
    let is_own = subscription.identity_id == told.subject;
    let may_know =
        if told.shows_document() { shown.is_some() } else { seen.active.contains(&subscription.identity_id) };
    if !is_own && !may_know {
        return Ok(None);
    }
    // Only the identity itself is shown its document by an event after which others do not see it.
    let shown = shown.filter(|_| is_own || told.shows_document());
    let event_id = payload::event_id(&Named::of(told.event));
    Ok(Some(Row {
        position: told.event.position,
        subject_id: told.subject,
        shown_id: (!is_own && shown.is_some()).then_some(told.subject),
        payload: payload::text(&event_id, told, shown)?,
        event_id,
        event_type: told.event_type,
        subscription: Arc::clone(subscription),
    }))
}

/// What some receivers see at present.
struct Seen<'a> {
    shown: HashMap<Sight<'a>, IdentityBody>,
    /// Which of them are active, where that matters.
    active: HashSet<Uuid>,
}

impl<'a> Seen<'a> {
    async fn load(connection: &mut PgConnection, receivers: &[Receiver<'a>]) -> Result<Self, sqlx::Error> {
        let sights: HashSet<Sight<'a>> =
            receivers.iter().map(|(told, subscription)| sight(told, subscription)).collect();
        let sights: Vec<Sight<'a>> = sights.into_iter().collect();
        let shown = identities::seen_by(&mut *connection, &sights).await?;
        let told_of_hiding = receivers.iter().filter(|(told, _)| !told.shows_document());
        let viewers: Vec<Uuid> = told_of_hiding.map(|(_, subscription)| subscription.identity_id).collect();
        let active = if viewers.is_empty() { HashSet::new() } else { active(connection, &viewers).await? };
        Ok(Self { shown, active })
    }
}

/// Which of these identities are active.
async fn active(connection: &mut PgConnection, identities: &[Uuid]) -> Result<HashSet<Uuid>, sqlx::Error> {
    let active: Vec<Uuid> =
        sqlx::query_scalar("select id from read_model.identities where id = any($1) and status = 'active'")
            .bind(identities)
            .fetch_all(connection)
            .await?;
    Ok(active.into_iter().collect())
}

fn sight<'a>(told: &Told<'a>, subscription: &Subscription) -> Sight<'a> {
    let organization_id = &*told.event.organization_id;
    Sight { organization_id, viewer: subscription.identity_id, target: told.subject }
}

pub(super) async fn insert(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into webhook_queue (id, endpoint_id, organization_id, identity_id, shown_id, event_id, event_type, payload,
                                    subject_id, due_at, created_at)
         select *, now(), now()
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[],
                     $9::uuid[])",
    )
    .bind(rows.iter().map(|_| ids::mint()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subscription.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &*row.subscription.organization_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subscription.identity_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.shown_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &*row.event_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_type).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &*row.payload).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subject_id).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
