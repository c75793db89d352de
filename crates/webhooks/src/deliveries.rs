//! The log of deliveries: what was sent, what was answered, and sending it again.

pub mod limits;
pub mod listing;
pub mod pruning;

use std::error::Error;

use identity_log::ids;
use identity_projections::identities::{MAY_BE_SHOWN, Viewer};
use sqlx::{FromRow, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Webhooks;
use crate::attempt::{Attempt, host_of};
use crate::credentials::Sealed;
use crate::delivering::{Target, Unsent};
use crate::queue::records::COLUMNS;
pub use crate::queue::records::Delivery;

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

    /// The size of what is sent and stored again.
    pub const fn payload_bytes(&self) -> usize {
        self.delivery.payload.len()
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
         left join lateral (
             select url from read_model.webhook_subscriptions where id = endpoint_id and status = 'active' offset 0
         ) as subscription on true",
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
            self.delivering.recorded.note(&delivery.organization_id, &delivery.payload, &attempt);
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
