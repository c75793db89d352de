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
use super::former::FormerViewers;
use super::granted::Granted;
use super::payload::{self, Named};
use super::subscribers::{Subscribers, Subscription};

/// After how many rows a transaction ends, at the next event.
const MAX_ROWS: usize = 1024;

/// How many receivers are looked at in one query. All that they see is in memory at the same time.
const MAX_SIGHTS: usize = 128;

/// After how many bytes of payloads it ends.
const MAX_BYTES: usize = 4 << 20;

/// A row of the queue.
pub(super) struct Row {
    pub(super) subscription: Arc<Subscription>,
    subject_id: Uuid,
    shown_id: Option<Uuid>,
    event_id: String,
    event_type: &'static str,
    payload: String,
}

/// The rows for these events; for the first of them, up to the position that is returned, if there are too many.
pub(super) async fn queued(
    connection: &mut PgConnection,
    events: &[Recorded],
) -> Result<(Vec<Row>, Option<i64>), QueueError> {
    let typed: Vec<(&Recorded, &'static str)> =
        events.iter().filter_map(|event| Some((event, type_of(&event.event)?))).collect();
    let subscribers = Subscribers::load(connection, &typed).await?;
    let mut rows = vec![];
    if subscribers.is_empty() {
        return Ok((rows, None));
    }
    let mut deliverable = deliverable(connection, &typed, &subscribers).await?;
    let mut bytes = 0;
    while !deliverable.is_empty() {
        let some = next_of(&mut deliverable);
        let shown = shown(connection, &some).await?;
        for (told, wanting) in some {
            let new = rows_of(connection, &told, wanting, &shown).await?;
            bytes += new.iter().map(|row| row.payload.len()).sum::<usize>();
            rows.extend(new);
            if rows.len() >= MAX_ROWS || bytes >= MAX_BYTES {
                return Ok((rows, Some(told.event.position)));
            }
        }
    }
    Ok((rows, None))
}

/// An event with the subscriptions that may get it.
type Deliverable<'a> = (Told<'a>, Vec<Arc<Subscription>>);

/// The next events, with [`MAX_SIGHTS`] subscriptions that may get one of them, or a few more.
fn next_of<'a>(all: &mut VecDeque<Deliverable<'a>>) -> Vec<Deliverable<'a>> {
    let (mut next, mut sights) = (vec![], 0);
    while sights < MAX_SIGHTS
        && let Some((told, wanting)) = all.pop_front()
    {
        sights += wanting.len();
        next.push((told, wanting));
    }
    next
}

/// The events for which a subscription asks that may get them.
async fn deliverable<'a>(
    connection: &mut PgConnection,
    events: &[(&'a Recorded, &'static str)],
    subscribers: &Subscribers,
) -> Result<VecDeque<Deliverable<'a>>, QueueError> {
    let is_wanted =
        |(event, event_type): &&(&Recorded, &str)| subscribers.of(event, event_type).next().is_some();
    let wanted: Vec<(&'a Recorded, &'static str)> = events.iter().filter(is_wanted).copied().collect();
    let owners = Owners::load(connection, &wanted).await?;
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
        let subscriptions = all.filter(may_get).cloned().collect();
        (told, subscriptions)
    };
    Ok(told.into_iter().map(with_subscriptions).collect())
}

/// The rows of one event. A viewer that does not see the identity gets none, unless the event says just that: then it gets one if
/// it is active, since an identity that is paused sees no other one.
async fn rows_of(
    connection: &mut PgConnection,
    told: &Told<'_>,
    wanting: Vec<Arc<Subscription>>,
    shown: &HashMap<Sight<'_>, IdentityBody>,
) -> Result<Vec<Row>, QueueError> {
    let viewers: Vec<Uuid> = wanting.iter().map(|subscription| subscription.identity_id).collect();
    let active = if told.shows_document() { HashSet::new() } else { active(connection, &viewers).await? };
    let event_id = payload::event_id(&Named::of(told.event));
    let mut rows = vec![];
    for subscription in wanting {
        let shown = shown.get(&sight(told, &subscription));
        let is_own = subscription.identity_id == told.subject;
        let may_know =
            if told.shows_document() { shown.is_some() } else { active.contains(&subscription.identity_id) };
        if !is_own && !may_know {
            continue;
        }
        // Only the identity itself is shown its document by an event after which others do not see it.
        let shown = shown.filter(|_| is_own || told.shows_document());
        rows.push(Row {
            subject_id: told.subject,
            shown_id: (!is_own && shown.is_some()).then_some(told.subject),
            event_id: event_id.clone(),
            event_type: told.event_type,
            payload: payload::text(&event_id, told, shown)?,
            subscription,
        });
    }
    Ok(rows)
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

/// The subjects as the identities of the subscriptions see them at present.
async fn shown<'a>(
    connection: &mut PgConnection,
    told: &[Deliverable<'a>],
) -> Result<HashMap<Sight<'a>, IdentityBody>, sqlx::Error> {
    let sights: HashSet<Sight<'a>> = told
        .iter()
        .flat_map(|(told, wanting)| wanting.iter().map(|subscription| sight(told, subscription)))
        .collect();
    if sights.is_empty() {
        return Ok(HashMap::new());
    }
    let sights: Vec<Sight<'a>> = sights.into_iter().collect();
    identities::seen_by(connection, &sights).await
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
