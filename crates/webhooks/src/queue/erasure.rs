//! Deletes what must not be sent or shown any more.

use identity_domain::Event;
use identity_domain::identity::{Event as IdentityEvent, Status};
use identity_domain::webhook_subscription::Event as SubscriptionEvent;
use identity_log::Recorded;
use sqlx::PgConnection;
use uuid::Uuid;

/// What ended, by the events of a step.
#[derive(Default)]
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
/// identity to a viewer that may not see it any more. The queue comes first: an attempt that is recorded at the same time has
/// its row locked, and what it writes is there when the log of deliveries is searched.
pub(super) async fn erase(
    connection: &mut PgConnection,
    events: impl Iterator<Item = &Recorded>,
) -> Result<(), sqlx::Error> {
    let mut ended = Ended::default();
    for event in events {
        if let Ok(id) = event.aggregate_id.parse() {
            ended.add(id, &event.event);
        }
    }
    for (statement, ids) in [
        ("delete from webhook_queue where identity_id = any($1)", &ended.identities),
        ("delete from webhook_queue where shown_id = any($1)", &ended.identities),
        ("delete from webhook_deliveries where identity_id = any($1)", &ended.identities),
        ("delete from webhook_deliveries where shown_id = any($1)", &ended.identities),
        ("delete from webhook_queue where endpoint_id = any($1)", &ended.subscriptions),
        ("delete from webhook_endpoints where endpoint_id = any($1)", &ended.subscriptions),
        ("delete from webhook_endpoints where endpoint_id = any($1)", &ended.changed),
    ] {
        if !ids.is_empty() {
            sqlx::query(statement).bind(ids).execute(&mut *connection).await?;
        }
    }
    for table in ["webhook_queue", "webhook_deliveries"] {
        hide(connection, table, &ended).await?;
    }
    Ok(())
}

/// Deletes from a table what shows an identity to a viewer that may not see it any more.
async fn hide(connection: &mut PgConnection, table: &str, ended: &Ended) -> Result<(), sqlx::Error> {
    if !ended.paused.is_empty() {
        let statement = format!(
            "delete from {table} where shown_id = any($1) or (identity_id = any($1) and shown_id is not null)"
        );
        sqlx::query(&statement).bind(&ended.paused).execute(&mut *connection).await?;
    }
    if !ended.hidden.is_empty() {
        let statement = format!(
            "delete from {table}
             using unnest($1::uuid[], $2::uuid[]) as gone (subject, viewer)
             where shown_id = subject and identity_id = viewer"
        );
        sqlx::query(&statement).bind(&ended.hidden).bind(&ended.viewers).execute(connection).await?;
    }
    Ok(())
}
