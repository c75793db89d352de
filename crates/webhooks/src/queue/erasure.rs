//! Deletes what must not be sent or shown any more.

use std::collections::{BTreeMap, HashSet};

use identity_domain::Event;
use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_domain::webhook_subscription::Event as SubscriptionEvent;
use identity_log::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

/// How many rows of an organization a transaction deletes at most.
const MAX_ERASED: i64 = 2_000;

/// What ended in an organization, by the events of a step.
#[derive(Default, PartialEq, Eq)]
struct Ended {
    /// Identities that were deleted.
    identities: Vec<Uuid>,
    /// Identities that were paused: no other identity sees them, and they see no other one.
    paused: Vec<Uuid>,
    /// Subscriptions that were deleted or disabled.
    subscriptions: Vec<Uuid>,
    /// Subscriptions that were changed.
    changed: Vec<Uuid>,
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
            Event::WebhookSubscription(SubscriptionEvent::Changed(_)) => self.changed.push(id),
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
    let mut unfinished = HashSet::new();
    for (organization, ended) in ended {
        if ended != Ended::default() && !erase_of_one(connection, &ended).await? {
            unfinished.insert(organization);
        }
    }
    Ok(unfinished)
}

/// Deletes what has ended in one organization. The queue comes first: an attempt that is recorded at the same time has its row
/// locked, and what it writes is there when the log of deliveries is searched. Returns false if there may be more.
async fn erase_of_one(connection: &mut PgConnection, ended: &Ended) -> Result<bool, sqlx::Error> {
    let mut erasure = Erasure { connection, left: MAX_ERASED };
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
    let changed: Vec<Uuid> = ended.subscriptions.iter().chain(&ended.changed).copied().collect();
    if !changed.is_empty() {
        let forget = "delete from webhook_endpoints where endpoint_id = any($1)";
        sqlx::query(forget).bind(changed).execute(&mut *erasure.connection).await?;
    }
    Ok(erasure.left > 0)
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
