//! Which events of the log matter to webhooks.

use std::collections::HashSet;

use identity_log::{Recorded, read};
use sqlx::PgConnection;

use super::QueueError;

/// How many events are read at a time.
const MAX_EVENTS: usize = 256;

/// How many new events are searched for a change of a subscription. If there are more, the subscriptions are read instead.
const MAX_SEARCHED: i64 = 8192;

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

/// The organizations with active subscriptions. They are read again when the log has a newer event of a subscription.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    organizations: HashSet<String>,
    /// Where the log ended when they were read, or when nothing had changed since; `None` if they were not read.
    as_of: Option<Place>,
}

/// A place of the log. The generation is another one if a read model was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    position: i64,
    generation: i64,
}

impl Subscribed {
    /// Brings the organizations up to date.
    async fn refresh(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (known, generation) =
            self.as_of.map_or((0, 0), |Place { position, generation }| (position, generation));
        // The inner query forces the planner to read the end of the log, and not all events of subscriptions.
        let (position, present, is_changed): (i64, i64, bool) = sqlx::query_as(
            "select position, generation,
                    position - $1 not between 0 and $2
                    or exists (select
                               from (select aggregate_type from events where position > $1 limit $2) as new
                               where aggregate_type = 'webhook_subscription')
             from log_head",
        )
        .bind(known)
        .bind(MAX_SEARCHED)
        .fetch_one(&mut *connection)
        .await?;
        if self.as_of.is_none() || is_changed || present != generation {
            self.organizations = subscribed(connection).await?;
        }
        self.as_of = Some(Place { position, generation: present });
        Ok(())
    }

    /// The events that may matter after `after` and up to `upto`: those of organizations with active subscriptions that are not late,
    /// and endings. If there are too many, the first of them. Returns the position up to which there are no others, too.
    pub(super) async fn events(
        &mut self,
        connection: &mut PgConnection,
        after: i64,
        upto: i64,
        late: &HashSet<String>,
    ) -> Result<(Vec<Recorded>, i64), QueueError> {
        self.refresh(connection).await?;
        let upto = upto.min(self.as_of.map_or(after, |end| end.position));
        let events: Vec<(i64, String, String)> = sqlx::query_as(
            "select position, organization_id, event_type from events
             where position > $1 and position <= $2
             order by position",
        )
        .bind(after)
        .bind(upto)
        .fetch_all(&mut *connection)
        .await?;
        let matters = |organization: &str, event_type: &str| {
            ENDINGS.contains(&event_type)
                || (self.organizations.contains(organization) && !late.contains(organization))
        };
        let positions: Vec<i64> = events
            .iter()
            .filter(|(_, organization, event_type)| matters(organization, event_type))
            .map(|(position, ..)| *position)
            .take(MAX_EVENTS)
            .collect();
        let last = positions.last().filter(|_| positions.len() == MAX_EVENTS).copied().unwrap_or(upto);
        if positions.is_empty() {
            return Ok((vec![], last));
        }
        Ok((read::at(connection, &positions).await?, last))
    }
}

async fn subscribed(connection: &mut PgConnection) -> Result<HashSet<String>, sqlx::Error> {
    let organizations: Vec<String> = sqlx::query_scalar(
        "select distinct organization_id from read_model.webhook_subscriptions where status = 'active'",
    )
    .fetch_all(connection)
    .await?;
    Ok(organizations.into_iter().collect())
}
