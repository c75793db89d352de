//! Takes log endpoints that have something to get, and writes how far each has come.

use std::time::Duration;

use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attempt::Attempt;
use crate::places::Free;
use crate::schedule::{Next, Reason};

/// A log endpoint to which this process sends until the lease ends.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Claim {
    pub(super) id: Uuid,
    pub(super) organization_id: String,
    pub(super) url: String,
    pub(super) event_types: Option<Vec<String>>,
    pub(super) signing_key: Vec<u8>,
    pub(super) sequence: i64,
    /// The end of the history when the endpoint was claimed.
    pub(super) head: i64,
    pub(super) attempts: i32,
    /// `None` also if nothing was sent to it for so long that the time begins anew.
    pub(super) failing_since: Option<OffsetDateTime>,
    pub(super) lease_until: OffsetDateTime,
    /// The clock of the database.
    pub(super) now: OffsetDateTime,
}

/// What may be claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// The number of endpoints, and the share of an organization.
    pub(super) free: Free,
    /// For how long they are claimed.
    pub(super) lease: Duration,
    /// After how long without an attempt an endpoint is no longer known to be failing.
    pub(super) longest_pause: Duration,
}

/// Claims endpoints whose cursor is behind the history of their organization: first for organizations that have the fewest
/// claimed, and of an organization first those that have waited for longest.
pub(super) async fn claim(pool: &PgPool, capacity: &Capacity) -> Result<Vec<Claim>, sqlx::Error> {
    sqlx::query_as(
        "with behind as (
             select endpoint.id, head.sequence as head, endpoint.due_at,
                    (select count(*) from webhook_log_endpoints as claimed
                     where claimed.organization_id = endpoint.organization_id and claimed.lease_until > now())
                    + row_number() over (partition by endpoint.organization_id order by endpoint.due_at) as upto
             from webhook_log_endpoints as endpoint
             join organization_heads as head on head.organization_id = endpoint.organization_id
             where endpoint.disabled_reason is null
               and endpoint.sequence < head.sequence
               and endpoint.due_at <= now()
               and (endpoint.lease_until is null or endpoint.lease_until <= now())
         ), due as materialized (
             select behind.id, behind.head
             from behind
             join webhook_log_endpoints as endpoint on endpoint.id = behind.id
             where behind.upto <= $3
               -- Again, on the row that is locked: it may have changed since `behind` was read.
               and endpoint.disabled_reason is null
               and endpoint.sequence < behind.head
               and endpoint.due_at <= now()
               and (endpoint.lease_until is null or endpoint.lease_until <= now())
             order by behind.upto, behind.due_at
             limit $1
             for update of endpoint skip locked
         ), fast as (
             select set_config('synchronous_commit', 'off', true)
         )
         update webhook_log_endpoints as row
         set lease_until = clock_timestamp() + make_interval(secs => $2)
         from due, fast
         where row.id = due.id
         returning row.id, organization_id, url, event_types, signing_key, sequence, head, attempts,
                   case when last_attempt_at > now() - make_interval(secs => $4) then failing_since end as failing_since,
                   lease_until, now() as now",
    )
    .bind(capacity.free.limit())
    .bind(capacity.lease.as_secs_f64())
    .bind(capacity.free.share)
    .bind(capacity.longest_pause.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// Moves the cursor behind an event that was delivered, and renews the lease. Returns the new lease and the moment; `None` if the
/// endpoint was deleted, or its lease is gone.
pub(super) async fn advance(
    pool: &PgPool,
    claim: &Claim,
    sequence: i64,
    attempt: &Attempt,
    lease: Duration,
) -> Result<Option<(OffsetDateTime, OffsetDateTime)>, sqlx::Error> {
    sqlx::query_as(
        "with fast as (
             select set_config('synchronous_commit', 'off', true)
         )
         update webhook_log_endpoints
         set sequence = $3, attempts = 0, failing_since = null, last_attempt_at = now(), last_status = $4, last_error = null,
             lease_until = clock_timestamp() + make_interval(secs => $5)
         from fast
         where id = $1 and lease_until = $2
         returning lease_until, now()",
    )
    .bind(claim.id)
    .bind(claim.lease_until)
    .bind(sequence)
    .bind(attempt.stored_status())
    .bind(lease.as_secs_f64())
    .fetch_optional(pool)
    .await
}

/// Writes that an attempt failed, and ends the lease.
pub(super) async fn fail(
    pool: &PgPool,
    claim: &Claim,
    attempt: &Attempt,
    next: Next,
) -> Result<(), sqlx::Error> {
    let due_at = if let Next::RetryAt(moment) = next { moment } else { claim.now };
    let reason = if let Next::Disable(reason) = next { Some(Reason::as_str(reason)) } else { None };
    sqlx::query(
        "update webhook_log_endpoints
         set attempts = $3, failing_since = coalesce($9::timestamptz, $4), last_attempt_at = $4, last_status = $5,
             last_error = $6, due_at = $7, disabled_reason = $8, lease_until = null
         where id = $1 and lease_until = $2",
    )
    .bind(claim.id)
    .bind(claim.lease_until)
    .bind(claim.attempts)
    .bind(claim.now)
    .bind(attempt.stored_status())
    .bind(attempt.error.as_deref())
    .bind(due_at)
    .bind(reason)
    .bind(claim.failing_since)
    .execute(pool)
    .await?;
    Ok(())
}

/// Ends the lease, and moves the cursor behind events that the endpoint does not want. Endpoints that wait for longer have their
/// turn first.
pub(super) async fn release(pool: &PgPool, claim: &Claim, upto: i64) -> Result<(), sqlx::Error> {
    release_for(pool, claim, upto, Duration::ZERO).await
}

/// Ends the lease of an endpoint to which this service could not send. It has a turn again after `delay`.
pub(super) async fn postpone(pool: &PgPool, claim: &Claim, delay: Duration) -> Result<(), sqlx::Error> {
    release_for(pool, claim, claim.sequence, delay).await
}

async fn release_for(pool: &PgPool, claim: &Claim, upto: i64, delay: Duration) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with fast as (
             select set_config('synchronous_commit', 'off', true)
         )
         update webhook_log_endpoints
         set sequence = $3, due_at = now() + make_interval(secs => $4), lease_until = null
         from fast
         where id = $1 and lease_until = $2",
    )
    .bind(claim.id)
    .bind(claim.lease_until)
    .bind(upto)
    .bind(delay.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}
