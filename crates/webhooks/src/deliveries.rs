//! The log of deliveries: what was sent, what was answered, and sending it again.

use std::error::Error;
use std::time::Duration;

use identity_log::ids;
use identity_projections::identities::{MAY_BE_SHOWN, Viewer};
use sqlx::{FromRow, PgExecutor, PgPool, Postgres, QueryBuilder};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Webhooks;
use crate::attempt::{Attempt, host_of};
use crate::credentials::Sealed;
use crate::delivering::{Target, Unsent};
use crate::queue::records::COLUMNS;
pub use crate::queue::records::Delivery;

/// How many rows are deleted at a time.
const PRUNED_AT_A_TIME: i64 = 1_000;

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

/// A delivery, and whether it can be sent again.
#[derive(Debug, Clone, FromRow)]
pub struct Listed {
    /// The delivery.
    #[sqlx(flatten)]
    pub delivery: Delivery,
    /// Whether its subscription is there and active.
    pub is_replayable: bool,
}

/// SQL: whether the subscription of a delivery is there and active.
const IS_REPLAYABLE: &str = "exists (select from read_model.webhook_subscriptions as subscription
                                     where subscription.id = endpoint_id and subscription.status = 'active')
                             as is_replayable";

/// Deliveries of an organization that this viewer may see, newest first: all for an admin, those of its own subscriptions for an
/// agent. What shows an identity that the receiver may not see any more is left out, also if it is not deleted yet.
///
/// The statement walks through one index in the order of the list: that of the subscription, the identity or the organization. The
/// planner does not see the values. Several conditions would seem to leave so few rows that it would select and sort them all, so
/// the others stand in a `case`, which it does not look into.
pub async fn list(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    filter: &Filter,
) -> Result<Vec<Listed>, sqlx::Error> {
    if filter.phone_number_id.is_some() {
        return Ok(vec![]);
    }
    let mut query = QueryBuilder::<Postgres>::new(format!(
        "select {COLUMNS}, {IS_REPLAYABLE} from webhook_deliveries as delivery where "
    ));
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

/// A delivery that somebody wants to be sent again, and where its subscription is at present.
#[derive(Debug, Clone, FromRow)]
pub struct Repeatable {
    #[sqlx(flatten)]
    delivery: Delivery,
    /// `None` if the subscription is gone or disabled.
    present_url: Option<String>,
    #[sqlx(flatten)]
    sealed: Sealed,
    now: OffsetDateTime,
}

impl Repeatable {
    /// The subscription to which it was sent.
    pub const fn subscription_id(&self) -> Uuid {
        self.delivery.endpoint_id
    }
}

/// The delivery with this id, if this viewer may see it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<Repeatable>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select delivery.*, subscription.url as present_url, now() as now, {}
         from (select {COLUMNS} from webhook_deliveries as delivery
               where id = $3 and organization_id = $1 and ($2::uuid is null or identity_id = $2) and {MAY_BE_SHOWN}) as delivery
         left join read_model.webhook_subscriptions as subscription
              on subscription.id = endpoint_id and status = 'active'",
        Sealed::columns("delivery.identity_id", "delivery.endpoint_id")
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(id)
    .fetch_optional(executor)
    .await
}

/// Why a delivery was not sent again, or nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The subscription is gone or disabled.
    #[error("the subscription is gone or disabled")]
    SubscriptionGone,
    /// The delivery was deleted meanwhile.
    #[error("the delivery was deleted meanwhile")]
    DeliveryGone,
    /// This service could not do its part. The receiver was not asked.
    #[error("the delivery could not be sent")]
    Unsent(#[source] Box<dyn Error + Send + Sync>),
    /// Postgres refused a statement, or was unavailable.
    #[error("database error")]
    Database(#[from] sqlx::Error),
}

impl Webhooks {
    /// Sends a delivery again, once and at once: the same event to the present URL of its subscription, signed anew. Returns the
    /// new row. No transaction is open while the receiver is waited for: that would occupy a connection for as long.
    pub async fn replay(&self, repeatable: &Repeatable) -> Result<Delivery, ReplayError> {
        let Repeatable { delivery, present_url: Some(url), now, .. } = repeatable else {
            return Err(ReplayError::SubscriptionGone);
        };
        let id = ids::mint();
        let attempt = self.attempt(repeatable, url, id).await;
        let attempt = attempt.map_err(|error| ReplayError::Unsent(error.into()))?;
        self.delivering.metrics.count(attempt.outcome());
        note(delivery, url, &attempt);
        let replayed = replayed(delivery, id, url, &attempt, *now);
        if insert(&self.delivering.pool, &replayed, delivery.id).await? {
            return Ok(replayed);
        }
        let is_there = is_there(&self.delivering.pool, delivery.id).await?;
        Err(if is_there { ReplayError::SubscriptionGone } else { ReplayError::DeliveryGone })
    }

    async fn attempt(&self, repeatable: &Repeatable, url: &str, id: Uuid) -> Result<Attempt, Unsent> {
        let Repeatable { delivery, sealed, now, .. } = repeatable;
        let secrets = &self.delivering.secrets_key;
        let credentials = sealed.open(secrets, delivery.identity_id, delivery.endpoint_id)?;
        let target = Target { url, organization_id: &delivery.organization_id, credentials };
        self.delivering.send(target, id, &delivery.event_id, &delivery.payload, *now).await
    }
}

/// A line of the log, without bodies, secrets, and the path of the URL, which can be a secret, too.
fn note(delivery: &Delivery, url: &str, attempt: &Attempt) {
    tracing::info!(
        subscription = %delivery.endpoint_id,
        event = delivery.event_id,
        host = host_of(url),
        status = attempt.status,
        error = attempt.error,
        milliseconds = attempt.stored_duration(),
        outcome = attempt.outcome().as_str(),
        "{}",
        attempt.log_message("sent a webhook again", "a webhook that is sent again was not answered")
    );
}

async fn is_there(pool: &PgPool, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from webhook_deliveries where id = $1)")
        .bind(id)
        .fetch_one(pool)
        .await
}

fn replayed(delivery: &Delivery, id: Uuid, url: &str, attempt: &Attempt, now: OffsetDateTime) -> Delivery {
    Delivery {
        id,
        url: url.to_owned(),
        response_status: attempt.stored_status(),
        response_body: attempt.body.clone(),
        error_detail: attempt.error.clone(),
        duration_ms: attempt.stored_duration(),
        is_replay: true,
        created_at: now,
        ..delivery.clone()
    }
}

/// Nothing is written if the delivery that is repeated was deleted meanwhile. Its lock waits for whoever deletes it at the same
/// time: otherwise a copy would outlive it. Returns whether something was written.
async fn insert(pool: &PgPool, delivery: &Delivery, repeated: Uuid) -> Result<bool, sqlx::Error> {
    let inserted = sqlx::query(&format!(
        "with repeated as (
             select id from webhook_deliveries where id = $16 for key share
         )
         insert into webhook_deliveries ({COLUMNS})
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
         from repeated
         where exists (select from read_model.webhook_subscriptions where id = $3)"
    ))
    .bind(delivery.id)
    .bind(&delivery.organization_id)
    .bind(delivery.endpoint_id)
    .bind(delivery.identity_id)
    .bind(delivery.shown_id)
    .bind(&delivery.event_id)
    .bind(&delivery.event_type)
    .bind(&delivery.url)
    .bind(&delivery.payload)
    .bind(delivery.response_status)
    .bind(&delivery.response_body)
    .bind(&delivery.error_detail)
    .bind(delivery.duration_ms)
    .bind(delivery.is_replay)
    .bind(delivery.created_at)
    .bind(repeated)
    .execute(pool)
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Deletes deliveries that are older than `retention`. Returns how many.
pub async fn prune(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    prune_table(pool, "webhook_deliveries", retention).await
}

/// Deletes what has waited to be sent for longer than `retention`. Returns how many deliveries.
pub async fn prune_waiting(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    prune_table(pool, "webhook_queue", retention).await
}

async fn prune_table(pool: &PgPool, table: &str, retention: Duration) -> Result<u64, sqlx::Error> {
    let statement = format!(
        "delete from {table}
         where id in (select id from {table} where created_at < now() - make_interval(secs => $1)
                      order by created_at limit $2)"
    );
    let mut pruned = 0;
    loop {
        let done = sqlx::query(&statement).bind(retention.as_secs_f64()).bind(PRUNED_AT_A_TIME).execute(pool);
        let rows = done.await?.rows_affected();
        pruned += rows;
        if i64::try_from(rows).unwrap_or(i64::MAX) < PRUNED_AT_A_TIME {
            return Ok(pruned);
        }
    }
}

/// Makes everything due at once that waits for another attempt at a subscription. Returns how many deliveries.
pub async fn retry(executor: impl PgExecutor<'_>, subscription: Uuid) -> Result<u64, sqlx::Error> {
    let retried = sqlx::query(
        "update webhook_queue set due_at = now() where endpoint_id = $1 and due_at > now() and lease_until is null",
    )
    .bind(subscription)
    .execute(executor)
    .await?;
    Ok(retried.rows_affected())
}
