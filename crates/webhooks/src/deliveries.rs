//! The log of deliveries: what was sent, what was answered, and sending it again.

use std::time::Duration;

use identity_log::ids;
use identity_projections::identities::Viewer;
use sqlx::{FromRow, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Webhooks;
use crate::attempt::Attempt;
use crate::dispatcher::Target;
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
/// agent.
pub async fn list(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    filter: &Filter,
) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {COLUMNS}, {IS_REPLAYABLE}
         from webhook_deliveries
         where organization_id = $1
           and ($2::uuid is null or identity_id = $2)
           and ($3::uuid is null or endpoint_id = $3)
           and $4::uuid is null
           and ($5::text is null or event_type = $5)
           and ($6::boolean is null or $6 = (error_detail is null and response_status between 200 and 299))
         order by created_at desc, id desc
         limit $7 offset $8"
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(filter.subscription_id)
    .bind(filter.phone_number_id)
    .bind(filter.event_type.as_deref())
    .bind(filter.success)
    .bind(filter.limit)
    .bind(filter.offset)
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

/// The delivery with this id, if this viewer may see it.
pub async fn find(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    viewer: &Viewer,
    id: Uuid,
) -> Result<Option<Delivery>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {COLUMNS}
         from webhook_deliveries
         where id = $3 and organization_id = $1 and ($2::uuid is null or identity_id = $2)"
    ))
    .bind(organization_id)
    .bind(viewer.agent_id())
    .bind(id)
    .fetch_optional(executor)
    .await
}

impl Webhooks {
    /// Sends a delivery again, once and at once: the same event to the present URL of its subscription, signed anew. Returns the
    /// new row; `None` if the subscription is gone or disabled.
    pub async fn replay(&self, delivery: &Delivery) -> Result<Option<Delivery>, sqlx::Error> {
        let pool = &self.delivering.pool;
        let target: Option<(String, bool, OffsetDateTime)> = sqlx::query_as(
            "select url, has_auth_token, now()
             from read_model.webhook_subscriptions
             where id = $1 and status = 'active'",
        )
        .bind(delivery.endpoint_id)
        .fetch_optional(pool)
        .await?;
        let Some((url, has_auth_token, now)) = target else { return Ok(None) };
        let id = ids::mint();
        let Delivery { endpoint_id, identity_id, .. } = *delivery;
        let target = Target { url: &url, endpoint_id, identity_id, has_auth_token };
        let sent = self.delivering.send(&target, id, &delivery.event_id, &delivery.payload, now).await;
        let attempt = sent.unwrap_or_else(|error| Attempt::failed(error.to_string()));
        self.delivering.metrics.count(attempt.outcome());
        let replayed = replayed(delivery, id, &url, &attempt, now);
        insert(pool, &replayed, delivery.id).await?;
        Ok(Some(replayed))
    }
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

/// Nothing is written if the delivery that is repeated was erased in the meantime.
async fn insert(pool: &PgPool, delivery: &Delivery, repeated: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(&format!(
        "insert into webhook_deliveries ({COLUMNS})
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
         where exists (select from read_model.webhook_subscriptions where id = $3)
           and exists (select from webhook_deliveries where id = $16)"
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
    Ok(())
}

/// Deletes deliveries that are older than `retention`, and what could not be sent for so long. Returns how many.
pub async fn prune(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    let mut pruned = 0;
    for table in ["webhook_deliveries", "webhook_queue"] {
        let statement = format!(
            "delete from {table}
             where id in (select id from {table} where created_at < now() - make_interval(secs => $1)
                          order by created_at limit $2)"
        );
        loop {
            let done =
                sqlx::query(&statement).bind(retention.as_secs_f64()).bind(PRUNED_AT_A_TIME).execute(pool);
            let rows = done.await?.rows_affected();
            pruned += rows;
            if i64::try_from(rows).unwrap_or(i64::MAX) < PRUNED_AT_A_TIME {
                break;
            }
        }
    }
    Ok(pruned)
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
