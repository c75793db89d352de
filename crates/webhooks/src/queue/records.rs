//! Writes what became of an attempt: a row of the log of deliveries, and what happens next with the row of the queue.

use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::claims::Claim;
use crate::attempt::Attempt;
use crate::schedule::Next;

/// A row of the log of deliveries.
#[derive(Debug, Clone, FromRow)]
pub struct Delivery {
    /// Its id.
    pub id: Uuid,
    /// The organization.
    pub organization_id: String,
    /// The subscription.
    pub endpoint_id: Uuid,
    /// The identity of the subscription.
    pub identity_id: Uuid,
    /// Another identity that the payload shows.
    pub shown_id: Option<Uuid>,
    /// The event, the same in every attempt.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Where it was sent.
    pub url: String,
    /// What was sent.
    pub payload: String,
    /// The status of the answer.
    pub response_status: Option<i16>,
    /// How the answer begins.
    pub response_body: Option<String>,
    /// Why there was no answer.
    pub error_detail: Option<String>,
    /// How long it took.
    pub duration_ms: i32,
    /// Whether somebody asked for it to be sent again.
    pub is_replay: bool,
    /// When the attempt began.
    pub created_at: OffsetDateTime,
}

/// The columns of a [`Delivery`].
pub(crate) const COLUMNS: &str = "id, organization_id, endpoint_id, identity_id, shown_id, event_id, event_type, url, payload, response_status, \
     response_body, error_detail, duration_ms, is_replay, created_at";

impl Attempt {
    /// The status, as the database has it.
    pub(crate) fn stored_status(&self) -> Option<i16> {
        self.status.and_then(|status| i16::try_from(status).ok())
    }

    /// The milliseconds, as the database has them.
    pub(crate) fn stored_duration(&self) -> i32 {
        i32::try_from(self.duration.as_millis()).unwrap_or(i32::MAX)
    }
}

/// Writes what became of an attempt. If the lease has ended and another process has the row, or the row was deleted, nothing is
/// written. The lock waits for whoever deletes the row at the same time. Returns whether it was written.
///
/// A row that is due again at `due_at` is given back. If its endpoint is about to be disabled, it stays claimed until that is done.
pub(crate) async fn record(
    pool: &PgPool,
    claim: &Claim,
    id: Uuid,
    attempt: &Attempt,
    next: Next,
    due_at: Option<OffsetDateTime>,
) -> Result<bool, sqlx::Error> {
    let recorded = sqlx::query(
        "with fast as (
             select set_config('synchronous_commit', 'off', true)
         ), row as (
             select webhook_queue.* from webhook_queue, fast where id = $1 and lease_until = $2
             for update of webhook_queue
         ), later as (
             update webhook_queue set due_at = $3, lease_until = case when $12 then lease_until end
             where id in (select id from row) and $3::timestamptz is not null
         ), done as (
             delete from webhook_queue where id in (select id from row) and $3::timestamptz is null
         ), failing as (
             insert into webhook_endpoints as known (endpoint_id, failing_since, url)
             select endpoint_id, $4, $7 from row where not $5
             on conflict (endpoint_id) do update set failing_since = $4, url = $7 where known.url <> $7
         ), working as (
             delete from webhook_endpoints where endpoint_id in (select endpoint_id from row) and url = $7 and $5
         )
         insert into webhook_deliveries (id, organization_id, endpoint_id, identity_id, shown_id, event_id, event_type, url,
                                         payload, response_status, response_body, error_detail, duration_ms, is_replay,
                                         created_at)
         select $6, organization_id, endpoint_id, identity_id, shown_id, event_id, event_type, $7, payload, $8, $9, $10, $11,
                false, $4
         from row",
    )
    .bind(claim.id)
    .bind(claim.lease_until)
    .bind(due_at)
    .bind(claim.now)
    .bind(next == Next::Done)
    .bind(id)
    .bind(&claim.url)
    .bind(attempt.stored_status())
    .bind(attempt.body.as_deref())
    .bind(attempt.error.as_deref())
    .bind(attempt.stored_duration())
    .bind(matches!(next, Next::Disable(_)))
    .execute(pool)
    .await?;
    Ok(recorded.rows_affected() > 0)
}
