//! Writes what became of attempts: a row of the log of deliveries, and what happens next with the row of the queue.

use std::collections::HashSet;

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

/// An attempt that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The row of the queue.
    pub(crate) claim: Claim,
    /// The id of the attempt.
    pub(crate) id: Uuid,
    /// What became of it.
    pub(crate) attempt: Attempt,
    /// What happens next with the row.
    pub(crate) next: Next,
    /// When the row is due again, unless it is deleted.
    pub(crate) due_at: Option<OffsetDateTime>,
}

/// SQL of [`record`]. Rows are found by keys or by their place, whatever the planner knows of the tables.
const RECORD: &str = "with fast as (
         select set_config('synchronous_commit', 'off', true)
     ), attempted as (
         select *
         from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::boolean[], $6::boolean[], $7::uuid[],
                     $8::text[], $9::smallint[], $10::text[], $11::text[], $12::integer[], $13::boolean[])
              as attempted (row_id, lease, due, moment, is_done, is_disabling, attempt_id, url, status, body, error, duration, is_first)
     ), row as materialized (
         select queued.*, attempted.*
         from attempted, fast
         cross join lateral (
             select ctid as place, webhook_queue.* from webhook_queue where id = row_id and lease_until is not distinct from lease
             for update skip locked
         ) as queued
     ), later as (
         update webhook_queue
         set due_at = row.due, lease_until = case when row.is_disabling then row.lease end
         from row
         where webhook_queue.ctid = any(array(select place from row where due is not null)) and webhook_queue.id = row.row_id
     ), done as (
         delete from webhook_queue where ctid = any(array(select place from row where due is null))
     ), endpoint as materialized (
         select distinct on (endpoint_id) endpoint_id, url, min(moment) over same as first_attempt_at, moment as last_attempt_at,
                                                 bool_or(is_done) over same as is_working, bool_and(is_first) over same as is_first
         from row
         window same as (partition by endpoint_id, url)
         order by endpoint_id, row.moment desc
     ), locked as materialized (
         select known.endpoint_id, known.url, known.failing_since
         from endpoint
         cross join lateral (
             select endpoint_id, url, failing_since from webhook_endpoints where endpoint_id = endpoint.endpoint_id for update
         ) as known
     ), failing as (
         insert into webhook_endpoints as known (endpoint_id, failing_since, last_attempt_at, url)
         select endpoint_id,
                case when is_first or locked.url is distinct from endpoint.url then first_attempt_at else locked.failing_since end,
                last_attempt_at, endpoint.url
         from endpoint left join locked using (endpoint_id)
         where not is_working
         order by endpoint_id
         on conflict (endpoint_id) do update
         set failing_since = excluded.failing_since, last_attempt_at = excluded.last_attempt_at, url = excluded.url
     ), working as (
         delete from webhook_endpoints as known
         where endpoint_id = any(array(select endpoint_id from locked join endpoint using (endpoint_id) where is_working))
           and exists (select from endpoint where endpoint_id = known.endpoint_id and url = known.url and is_working)
     )
     insert into webhook_deliveries (id, organization_id, endpoint_id, identity_id, shown_id, event_id, event_type, url, payload,
                                     response_status, response_body, error_detail, duration_ms, is_replay, created_at)
     select attempt_id, organization_id, endpoint_id, identity_id, shown_id, event_id, event_type, url, payload, status, body, error,
            duration, false, moment
     from row
     returning id";

/// Writes what became of attempts. Returns the ids of the attempts that were written.
///
/// - If a lease has ended and another process has the row, or the row was deleted or is being deleted, nothing of it is written.
///   It does not wait for rows of the queue that are locked. It can wait for a row of `webhook_endpoints` that another process
///   writes, or a step of the fan-out. It locks those in the order of their ids.
/// - A row that is due again is given back. If its endpoint is about to be disabled, it stays claimed until that is done.
/// - An endpoint fails since the first of these attempts, if it was not known to be failing when they were claimed. The last of
///   them is noted as its last attempt, also if it was known to be failing.
/// - An endpoint works if one of the attempts at its address succeeded. If it was given another address meanwhile, the attempts
///   at the address of the last one count.
pub(crate) async fn record(pool: &PgPool, ended: &[Ended]) -> Result<HashSet<Uuid>, sqlx::Error> {
    fn all<'a, T>(ended: &'a [Ended], value: impl Fn(&'a Ended) -> T) -> Vec<T> {
        ended.iter().map(value).collect()
    }
    let recorded: Vec<Uuid> = sqlx::query_scalar(RECORD)
        .bind(all(ended, |one| one.claim.id))
        .bind(all(ended, |one| one.claim.lease_until))
        .bind(all(ended, |one| one.due_at))
        .bind(all(ended, |one| one.claim.now))
        .bind(all(ended, |one| one.next == Next::Done))
        .bind(all(ended, |one| matches!(one.next, Next::Disable(_))))
        .bind(all(ended, |one| one.id))
        .bind(all(ended, |one| one.claim.url.as_str()))
        .bind(all(ended, |one| one.attempt.stored_status()))
        .bind(all(ended, |one| one.attempt.body.as_deref()))
        .bind(all(ended, |one| one.attempt.error.as_deref()))
        .bind(all(ended, |one| one.attempt.stored_duration()))
        .bind(all(ended, |one| one.claim.failing_since.is_none()))
        .fetch_all(pool)
        .await?;
    Ok(recorded.into_iter().collect())
}
