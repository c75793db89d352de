//! The subscriptions that ask for events.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use identity_log::Recorded;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

/// A subscription, as far as it matters here.
#[derive(Debug, FromRow)]
pub(super) struct Subscription {
    pub(super) id: Uuid,
    pub(super) organization_id: String,
    pub(super) identity_id: Uuid,
    event_types: String,
    active_after: i64,
}

/// The active subscriptions by organization and event type.
#[derive(Debug, Default)]
pub(super) struct Subscribers(HashMap<String, HashMap<String, Vec<Arc<Subscription>>>>);

impl Subscribers {
    /// Reads those that ask for one of the types of these events, in their organizations.
    pub(super) async fn load(
        connection: &mut PgConnection,
        events: &[(&Recorded, &'static str)],
    ) -> Result<Self, sqlx::Error> {
        let organizations: HashSet<&str> = events.iter().map(|(event, _)| &*event.organization_id).collect();
        let types: HashSet<&str> = events.iter().map(|(_, event_type)| *event_type).collect();
        if organizations.is_empty() {
            return Ok(Self::default());
        }
        let found: Vec<Subscription> = sqlx::query_as(
            "select id, organization_id, identity_id, event_types, active_after
             from read_model.webhook_subscriptions
             where organization_id = any($1)
               and status = 'active'
               and string_to_array(event_types, ' ') && $2",
        )
        .bind(organizations.into_iter().collect::<Vec<_>>())
        .bind(types.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        Ok(found.into_iter().map(Arc::new).collect())
    }

    /// Their identities.
    pub(super) fn identities(&self) -> HashSet<Uuid> {
        let all = self.0.values().flat_map(HashMap::values).flatten();
        all.map(|subscription| subscription.identity_id).collect()
    }

    /// Those that were there when the event happened, and ask for its type.
    pub(super) fn of(&self, event: &Recorded, event_type: &str) -> impl Iterator<Item = &Arc<Subscription>> {
        let all = self.0.get(&event.organization_id).and_then(|types| types.get(event_type));
        let position = event.position;
        all.into_iter().flatten().filter(move |subscription| subscription.active_after < position)
    }
}

impl FromIterator<Arc<Subscription>> for Subscribers {
    fn from_iter<All: IntoIterator<Item = Arc<Subscription>>>(all: All) -> Self {
        let mut subscribers = Self::default();
        for subscription in all {
            let types = subscribers.0.entry(subscription.organization_id.clone()).or_default();
            for event_type in subscription.event_types.split(' ').collect::<HashSet<_>>() {
                types.entry(event_type.to_owned()).or_default().push(Arc::clone(&subscription));
            }
        }
        subscribers
    }
}
