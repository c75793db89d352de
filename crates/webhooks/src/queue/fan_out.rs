//! Reads the log in order and writes what is to be sent to the queue.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use identity_domain::webhook_subscription::catalog::type_of;
use identity_log::follow::Head;
use identity_log::{Recorded, ids, read};
use identity_projections::identities::{self, IdentityBody, Sight};
use sqlx::{FromRow, PgConnection, PgPool};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::audience::{Owners, Told};
use super::erasure::erase;
use super::payload::{self, Named};
use super::{QueueError, RETRY_INTERVAL};

/// How many events a step passes at most. Of those, only events that may matter are read.
const MAX_PASSED: i64 = 8192;

/// How many events a step reads at most.
const MAX_EVENTS: i64 = 256;

/// After how many rows of the queue a transaction ends, at the next event.
const MAX_ROWS: usize = 1024;

/// After how long without news the cursor is compared with the log. Another process may have died while it moved it.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// How long commits are gathered before the next step.
const GATHERING_TIME: Duration = Duration::from_millis(10);

/// The events that end something, and matter in organizations without subscriptions, too.
const ENDINGS: &[&str] = &[
    "identity.deleted",
    "identity.status_changed",
    "identity.visibility_narrowed",
    "identity.visibility_revoked",
    "webhook_subscription.changed",
    "webhook_subscription.disabled",
    "webhook_subscription.deleted",
];

/// The task that fans out.
#[derive(Debug)]
pub struct FanOut {
    pool: PgPool,
    head: watch::Receiver<Head>,
    /// Told when there are new rows.
    wake: Arc<Notify>,
}

impl FanOut {
    pub(crate) fn new(pool: PgPool, head: watch::Receiver<Head>, wake: Arc<Notify>) -> Self {
        Self { pool, head, wake }
    }

    /// Fans out until nobody tells of the log any more.
    pub async fn run(mut self) {
        let mut seen = -1;
        loop {
            let head = self.head.borrow_and_update().position;
            if head != seen {
                match self.catch_up(head).await {
                    Ok(position) => seen = position,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn Error, "cannot queue webhooks, trying again");
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                }
            }
            tokio::time::sleep(GATHERING_TIME).await;
            // The sender of the channel is dropped when the service stops.
            if let Ok(Err(_stopped)) = tokio::time::timeout(MAX_SILENCE, self.head.changed()).await {
                return;
            }
        }
    }

    /// Goes on until the cursor is at `head`, or another process has it. Returns where the cursor is, if it is known.
    async fn catch_up(&self, head: i64) -> Result<i64, QueueError> {
        loop {
            match self.step(head).await? {
                Step::Taken => return Ok(-1),
                Step::At(position) if position >= head => return Ok(head),
                Step::At(_) if self.head.has_changed().is_err() => return Ok(-1),
                Step::At(_) => {}
            }
        }
    }

    /// Reads some events, and moves the cursor behind them.
    async fn step(&self, head: i64) -> Result<Step, QueueError> {
        let mut transaction = self.pool.begin().await?;
        let cursor: Option<i64> = sqlx::query_scalar(
            "select position
             from webhook_cursor, set_config('synchronous_commit', 'off', true)
             for update of webhook_cursor skip locked",
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(cursor) = cursor else { return Ok(Step::Taken) };
        if cursor >= head {
            return Ok(Step::At(cursor));
        }
        let upto = head.min(cursor + MAX_PASSED);
        let events = events(&mut transaction, cursor, upto).await?;
        let whole =
            if events.len() < usize::try_from(MAX_EVENTS).unwrap_or_default() { Some(upto) } else { None };
        let last = whole.or_else(|| events.last().map(|event| event.position)).unwrap_or(upto);
        let (rows, position) = queued(&mut transaction, &events).await?;
        let position = position.unwrap_or(last);
        // What this step queues shows nothing that these events hide: it was read after them.
        erase(&mut transaction, events.iter().take_while(|event| event.position <= position)).await?;
        insert(&mut transaction, &rows).await?;
        sqlx::query("update webhook_cursor set position = $1")
            .bind(position)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if !rows.is_empty() {
            self.wake.notify_one();
        }
        Ok(Step::At(position))
    }
}

/// The next events that may matter: those of organizations with active subscriptions, and endings.
async fn events(connection: &mut PgConnection, after: i64, upto: i64) -> Result<Vec<Recorded>, QueueError> {
    let positions: Vec<i64> = sqlx::query_scalar(
        "select position
         from events
         where position > $1
           and position <= $2
           and (event_type = any($3)
                or organization_id in (select organization_id from read_model.webhook_subscriptions
                                       where status = 'active'))
         order by position
         limit $4",
    )
    .bind(after)
    .bind(upto)
    .bind(ENDINGS)
    .bind(MAX_EVENTS)
    .fetch_all(&mut *connection)
    .await?;
    if positions.is_empty() {
        return Ok(vec![]);
    }
    Ok(read::at(connection, &positions).await?)
}

/// How far a step came.
enum Step {
    /// Another process has the cursor.
    Taken,
    /// The cursor is here.
    At(i64),
}

/// A row of the queue.
struct Row {
    subscription: Arc<Subscription>,
    shown_id: Option<Uuid>,
    event_id: String,
    event_type: &'static str,
    payload: String,
}

/// A subscription, as far as it matters here.
#[derive(Debug, FromRow)]
struct Subscription {
    id: Uuid,
    organization_id: String,
    identity_id: Uuid,
    event_types: String,
    active_after: i64,
}

impl Subscription {
    /// Whether it was there when the event happened, and asks for it.
    fn wants(&self, told: &Told<'_>) -> bool {
        self.active_after < told.event.position
            && self.organization_id == told.event.organization_id
            && self.event_types.split(' ').any(|name| name == told.event_type)
            && told.includes(self.identity_id)
    }
}

/// The rows for these events; for the first of them, up to the position that is returned, if there are too many.
async fn queued(
    connection: &mut PgConnection,
    events: &[Recorded],
) -> Result<(Vec<Row>, Option<i64>), QueueError> {
    let typed: Vec<(&Recorded, &'static str)> =
        events.iter().filter_map(|event| Some((event, type_of(&event.event)?))).collect();
    let subscriptions = subscriptions(connection, &typed).await?;
    let mut rows = vec![];
    if subscriptions.is_empty() {
        return Ok((rows, None));
    }
    let owners = Owners::load(connection, &typed).await?;
    for (event, event_type) in typed {
        let Some(told) = owners.told(connection, event, event_type).await? else { continue };
        let wanting = subscriptions.iter().filter(|subscription| subscription.wants(&told));
        rows.extend(rows_of(connection, &told, wanting.cloned().collect()).await?);
        if rows.len() >= MAX_ROWS {
            return Ok((rows, Some(event.position)));
        }
    }
    Ok((rows, None))
}

/// The active subscriptions that ask for one of the types of these events, in their organizations.
async fn subscriptions(
    connection: &mut PgConnection,
    events: &[(&Recorded, &'static str)],
) -> Result<Vec<Arc<Subscription>>, sqlx::Error> {
    let mut organizations: Vec<&str> = events.iter().map(|(event, _)| &*event.organization_id).collect();
    organizations.sort_unstable();
    organizations.dedup();
    if organizations.is_empty() {
        return Ok(vec![]);
    }
    let found: Vec<Subscription> = sqlx::query_as(
        "select id, organization_id, identity_id, event_types, active_after
         from read_model.webhook_subscriptions
         where organization_id = any($1)
           and status = 'active'
           and string_to_array(event_types, ' ') && $2",
    )
    .bind(organizations)
    .bind(events.iter().map(|(_, event_type)| *event_type).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().map(Arc::new).collect())
}

/// The rows of one event. A viewer that does not see the identity gets none, unless the event says just that.
async fn rows_of(
    connection: &mut PgConnection,
    told: &Told<'_>,
    wanting: Vec<Arc<Subscription>>,
) -> Result<Vec<Row>, QueueError> {
    let viewers = wanting.iter().map(|subscription| subscription.identity_id);
    let shown = seen_by(connection, told, viewers.collect()).await?;
    let event_id = payload::event_id(&Named::of(told.event));
    let mut rows = vec![];
    for subscription in wanting {
        let shown = shown.get(&subscription.identity_id);
        let is_own = subscription.identity_id == told.subject;
        if !is_own && shown.is_none() && told.shows_document() {
            continue;
        }
        // Only the identity itself is shown its document by an event after which others do not see it.
        let shown = shown.filter(|_| is_own || told.shows_document());
        rows.push(Row {
            shown_id: (!is_own && shown.is_some()).then_some(told.subject),
            event_id: event_id.clone(),
            event_type: told.event_type,
            payload: payload::text(&event_id, told, shown)?,
            subscription,
        });
    }
    Ok(rows)
}

/// The subject as each of these identities sees it at present.
async fn seen_by(
    connection: &mut PgConnection,
    told: &Told<'_>,
    mut viewers: Vec<Uuid>,
) -> Result<HashMap<Uuid, IdentityBody>, QueueError> {
    viewers.sort_unstable();
    viewers.dedup();
    if viewers.is_empty() {
        return Ok(HashMap::new());
    }
    let sight =
        Sight { organization_id: &told.event.organization_id, viewers: &viewers, target: told.subject };
    Ok(identities::seen_by(connection, &sight).await?)
}

async fn insert(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into webhook_queue (id, endpoint_id, organization_id, identity_id, shown_id, event_id, event_type, payload,
                                    due_at, created_at)
         select *, now(), now()
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[])",
    )
    .bind(rows.iter().map(|_| ids::mint()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subscription.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &*row.subscription.organization_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.subscription.identity_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.shown_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &*row.event_id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_type).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &*row.payload).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
