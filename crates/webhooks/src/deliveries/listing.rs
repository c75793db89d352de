//! Lists of deliveries. Payloads are large, so a page is found first, and then read some deliveries at a time.

use identity_projections::identities::{MAY_BE_SHOWN, Viewer};
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::queue::records::{COLUMNS, Delivery};

/// Which deliveries are listed. The default lists the newest of all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of this subscription.
    pub subscription_id: Option<Uuid>,
    /// Those of this phone number.
    pub phone_number_id: Option<Uuid>,
    /// Those of this type.
    pub event_type: Option<String>,
    /// Those that were answered with 2xx, or those that were not.
    pub success: Option<bool>,
    /// How many.
    pub limit: i64,
    /// How many of the newest are left out.
    pub offset: i64,
}

/// A delivery of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// Whether its subscription is there and active, so that it can be sent again.
    pub is_replayable: bool,
    /// About half of the bytes that it has as JSON at most: quotes and backslashes of a payload are escaped again, and every
    /// character of what a receiver has answered.
    pub bytes: i32,
}

/// A delivery, and whether it can be sent again.
#[derive(Debug, Clone, FromRow)]
pub struct Listed {
    /// The delivery.
    #[sqlx(flatten)]
    pub delivery: Delivery,
    /// Whether its subscription is there and active.
    pub is_replayable: bool,
}

/// SQL: an [`Entry`]. The sizes are read without the texts.
const ENTRY: &str = "id,
     exists (select from read_model.webhook_subscriptions as subscription
             where subscription.id = endpoint_id and subscription.status = 'active') as is_replayable,
     512 + octet_length(payload) + octet_length(url)
     + 3 * (coalesce(octet_length(response_body), 0) + coalesce(octet_length(error_detail), 0)) as bytes";

/// The deliveries of an organization that this viewer may see, newest first: all for an admin, those of its own subscriptions for an
/// agent. What shows an identity that the receiver may not see any more is left out, also if it is not deleted yet.
///
/// The statement walks through one index in the order of the list: that of the subscription, the identity or the organization. The
/// planner does not see the values. Several conditions would seem to leave so few rows that it would select and sort them all, so
/// the others stand in a `case`, which it does not look into.
pub async fn page(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    filter: &Filter,
) -> Result<Vec<Entry>, sqlx::Error> {
    if filter.phone_number_id.is_some() {
        return Ok(vec![]);
    }
    let mut query =
        QueryBuilder::<Postgres>::new(format!("select {ENTRY} from webhook_deliveries as delivery where "));
    let agent = viewer.agent_id();
    match (filter.subscription_id, agent) {
        (Some(subscription), _) => query.push("endpoint_id = ").push_bind(subscription),
        (None, Some(agent)) => query.push("identity_id = ").push_bind(agent),
        (None, None) => query.push("organization_id = ").push_bind(organization_id),
    };
    query.push(" and case when organization_id = ").push_bind(organization_id);
    if let Some(agent) = agent {
        query.push(" and identity_id = ").push_bind(agent);
    }
    if let Some(event_type) = &filter.event_type {
        query.push(" and event_type = ").push_bind(event_type);
    }
    if let Some(success) = filter.success {
        query.push(" and (error_detail is null and coalesce(response_status, 0) between 200 and 299) = ");
        query.push_bind(success);
    }
    query.push(" and ").push(MAY_BE_SHOWN);
    query.push(" then true else false end order by created_at desc, id desc limit ").push_bind(filter.limit);
    query.push(" offset ").push_bind(filter.offset);
    query.build_query_as().fetch_all(executor).await
}

/// Reads some deliveries of a page, in its order. Those that were deleted meanwhile are left out, and those that may not be shown
/// any more.
pub async fn read(executor: impl PgExecutor<'_>, some: &[Entry]) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {COLUMNS}, is_replayable
         from unnest($1::uuid[], $2::boolean[]) with ordinality as wanted (id, is_replayable, place)
         join webhook_deliveries as delivery using (id)
         where {MAY_BE_SHOWN}
         order by place"
    ))
    .bind(some.iter().map(|entry| entry.id).collect::<Vec<_>>())
    .bind(some.iter().map(|entry| entry.is_replayable).collect::<Vec<_>>())
    .fetch_all(executor)
    .await
}

/// The newest deliveries to a subscription, for the operator.
pub async fn newest(
    executor: impl PgExecutor<'_>,
    subscription: Uuid,
    limit: i64,
) -> Result<Vec<Delivery>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {COLUMNS} from webhook_deliveries where endpoint_id = $1 order by created_at desc, id desc limit $2"
    ))
    .bind(subscription)
    .bind(limit)
    .fetch_all(executor)
    .await
}
