//! Deletes what must not be sent or shown any more.

use std::collections::{BTreeMap, HashSet};

use identity_domain::Event;
use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_domain::webhook_subscription::Event as SubscriptionEvent;
use identity_log::Recorded;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// How many rows of an organization a transaction deletes at most.
const MAX_ERASED: i64 = 2_000;

/// How many rows it deletes at most.
const MAX_ERASED_OF_ALL: i64 = 10_000;

/// What ended in an organization, by the events of a step.
#[derive(Default, PartialEq, Eq)]
struct Ended {
    /// Identities that were deleted.
    identities: Vec<Uuid>,
    /// Identities that were paused: no other identity sees them, and they see no other one.
    paused: Vec<Uuid>,
    /// Subscriptions that were deleted or disabled.
    subscriptions: Vec<Uuid>,
    /// Identities that a viewer may not see any more.
    hidden: Vec<Uuid>,
    /// The viewer of each of those.
    viewers: Vec<Uuid>,
}

impl Ended {
    fn add(&mut self, id: Uuid, event: &Event) {
        match event {
            Event::Identity(event) => self.add_identity(id, event),
            Event::WebhookSubscription(
                SubscriptionEvent::Deleted { .. } | SubscriptionEvent::Disabled { .. },
            ) => self.subscriptions.push(id),
            _ => {}
        }
    }

    fn add_identity(&mut self, id: Uuid, event: &IdentityEvent) {
        match event {
            IdentityEvent::Deleted { .. } => self.identities.push(id),
            IdentityEvent::StatusChanged { status: Status::Paused } => self.paused.push(id),
            IdentityEvent::VisibilityRevoked { viewer_identity_id }
            | IdentityEvent::VisibilityNarrowed { viewer_identity_id, .. } => {
                self.hidden.push(id);
                self.viewers.push(*viewer_identity_id);
            }
            _ => {}
        }
    }
}

/// Deletes deliveries of subscriptions that have ended, everything that shows an identity that was deleted, and what shows an
/// identity to a viewer that may not see it any more. Returns the organizations of which there may be more to delete than one
/// transaction should.
pub(super) async fn erase<'a>(
    connection: &mut PgConnection,
    events: &'a [Recorded],
) -> Result<HashSet<&'a str>, sqlx::Error> {
    let mut ended: BTreeMap<&str, Ended> = BTreeMap::new();
    for event in events {
        if let Ok(id) = event.aggregate_id.parse() {
            ended.entry(&event.organization_id).or_default().add(id, &event.event);
        }
    }
    let (mut unfinished, mut left) = (HashSet::new(), MAX_ERASED_OF_ALL);
    for (organization, ended) in ended {
        if ended == Ended::default() {
            continue;
        }
        let most = left.min(MAX_ERASED);
        let erased = erase_of_one(connection, &ended, most).await?;
        left -= erased;
        if erased == most {
            unfinished.insert(organization);
        }
    }
    forget_failures(connection, events).await?;
    Ok(unfinished)
}

/// Deletes what has ended in one organization. The queue comes first: an attempt that is recorded at the same time has its row
/// locked, and what it writes is there when the log of deliveries is searched. Returns how many rows were deleted.
async fn erase_of_one(connection: &mut PgConnection, ended: &Ended, most: i64) -> Result<i64, sqlx::Error> {
    let mut erasure = Erasure { connection, left: most };
    for table in ["webhook_queue", "webhook_deliveries"] {
        erasure.delete(table, "identity_id = any($1)", &ended.identities).await?;
        erasure.delete(table, "shown_id = any($1)", &ended.identities).await?;
        erasure.delete(table, "shown_id = any($1)", &ended.paused).await?;
        erasure.delete(table, "identity_id = any($1) and shown_id is not null", &ended.paused).await?;
        erasure.hide(table, ended).await?;
    }
    erasure
        .delete("webhook_queue", "identity_id = any($1) and subject_id <> identity_id", &ended.paused)
        .await?;
    erasure.delete("webhook_queue", "endpoint_id = any($1)", &ended.subscriptions).await?;
    Ok(most - erasure.left)
}

/// Forgets that subscriptions were failing which have ended or were changed. What was learnt of them later stays: the same events are
/// looked at again while an organization is late. This comes behind the queue of all organizations, and locks endpoints in the order
/// of their ids, as recording does.
async fn forget_failures(connection: &mut PgConnection, events: &[Recorded]) -> Result<(), sqlx::Error> {
    let is_change = |event: &&Recorded| {
        matches!(
            event.event,
            Event::WebhookSubscription(
                SubscriptionEvent::Changed(_)
                    | SubscriptionEvent::Deleted { .. }
                    | SubscriptionEvent::Disabled { .. }
            )
        )
    };
    let changes = events.iter().filter(is_change);
    let changes =
        changes.filter_map(|event| Some((event.aggregate_id.parse::<Uuid>().ok()?, event.recorded_at)));
    let (ids, moments): (Vec<Uuid>, Vec<OffsetDateTime>) = changes.unzip();
    if ids.is_empty() {
        return Ok(());
    }
    // An attempt that had begun before can be recorded a moment later.
    sqlx::query(
        "delete from webhook_endpoints where endpoint_id in (
             select known.endpoint_id
             from webhook_endpoints as known
             join unnest($1::uuid[], $2::timestamptz[]) as changed (id, moment) on known.endpoint_id = changed.id
             where coalesce(last_attempt_at, failing_since) <= changed.moment + interval '1 minute'
             order by known.endpoint_id
             for update of known
         )",
    )
    .bind(ids)
    .bind(moments)
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes rows, and counts how many it may still delete.
struct Erasure<'a> {
    connection: &'a mut PgConnection,
    left: i64,
}

impl Erasure<'_> {
    async fn delete(&mut self, table: &str, condition: &str, ids: &[Uuid]) -> Result<(), sqlx::Error> {
        if ids.is_empty() || self.left == 0 {
            return Ok(());
        }
        // The lock makes the limit count rows that are still there.
        let statement = format!(
            "delete from {table} where id in (select id from {table} where {condition} limit $2 for update)"
        );
        let done = sqlx::query(&statement).bind(ids).bind(self.left).execute(&mut *self.connection).await?;
        self.count(done.rows_affected());
        Ok(())
    }

    /// Deletes what shows an identity to a viewer that may not see it any more.
    async fn hide(&mut self, table: &str, ended: &Ended) -> Result<(), sqlx::Error> {
        if ended.hidden.is_empty() || self.left == 0 {
            return Ok(());
        }
        let statement = format!(
            "delete from {table} where id in (
                 select id from {table}
                 join unnest($1::uuid[], $2::uuid[]) as gone (subject, viewer) on shown_id = subject and identity_id = viewer
                 limit $3
                 for update of {table}
             )"
        );
        let deletion = sqlx::query(&statement).bind(&ended.hidden).bind(&ended.viewers).bind(self.left);
        let done = deletion.execute(&mut *self.connection).await?;
        self.count(done.rows_affected());
        Ok(())
    }

    fn count(&mut self, rows: u64) {
        self.left = self.left.saturating_sub(i64::try_from(rows).unwrap_or(i64::MAX)).max(0);
    }
}
