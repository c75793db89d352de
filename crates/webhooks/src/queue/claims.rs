//! Takes rows of the queue that are due.

use std::time::Duration;

use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

/// How many deliveries to one endpoint are on their way at the same time.
const MAX_IN_FLIGHT: i64 = 8;

/// How many, while everything that is sent to it fails.
const MAX_IN_FLIGHT_OF_FAILING: i64 = 1;

/// A delivery that this process may send until the lease ends.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Claim {
    /// The row of the queue.
    pub(crate) id: Uuid,
    pub(crate) endpoint_id: Uuid,
    /// Whose signing key signs it.
    pub(crate) identity_id: Uuid,
    pub(crate) organization_id: String,
    pub(crate) event_id: String,
    pub(crate) payload: String,
    /// The number of attempts, with this one.
    pub(crate) attempts: i32,
    pub(crate) lease_until: OffsetDateTime,
    pub(crate) url: String,
    pub(crate) has_auth_token: bool,
    pub(crate) failing_since: Option<OffsetDateTime>,
    /// The clock of the database.
    pub(crate) now: OffsetDateTime,
}

/// What may be claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// The number of rows.
    pub(crate) rows: i64,
    /// Whether rows for endpoints to which everything fails may be among them.
    pub(crate) failing: bool,
    /// For how long they are claimed.
    pub(crate) lease: Duration,
}

/// Claims rows that are due: for each endpoint as many as it may have on their way, and first those of endpoints that work, in
/// random order, so that none waits for ever where there are too many. The endpoints are found by jumping through the index from
/// one to the next, however many rows each has.
pub(crate) async fn claim(pool: &PgPool, capacity: &Capacity) -> Result<Vec<Claim>, sqlx::Error> {
    sqlx::query_as(
        "with recursive endpoint (id) as (
             (select endpoint_id from webhook_queue order by endpoint_id limit 1)
             union all
             select (select endpoint_id from webhook_queue where endpoint_id > endpoint.id order by endpoint_id limit 1)
             from endpoint
             where endpoint.id is not null
         ), ready as materialized (
             select endpoint.id, subscription.url, subscription.has_auth_token, state.failing_since,
                    case when state.failing_since is null then $1::bigint else $2::bigint end
                    - (select count(*) from webhook_queue
                       where endpoint_id = endpoint.id and lease_until > now()) as free
             from endpoint
             join read_model.webhook_subscriptions as subscription
                  on subscription.id = endpoint.id and subscription.status = 'active'
             left join webhook_endpoints as state on state.endpoint_id = endpoint.id
             where state.failing_since is null or $3
             order by state.failing_since nulls first, random()
         ), chosen as materialized (
             select due.id, ready.url, ready.has_auth_token, ready.failing_since
             from ready
             cross join lateral (
                 select id
                 from webhook_queue
                 where endpoint_id = ready.id and due_at <= now() and (lease_until is null or lease_until <= now())
                 order by due_at
                 limit ready.free
                 for update skip locked
             ) as due
             where ready.free > 0
             limit $4
         ), fast as (
             select set_config('synchronous_commit', 'off', true)
         )
         update webhook_queue as row
         set lease_until = clock_timestamp() + make_interval(secs => $5), attempts = attempts + 1
         from chosen, fast
         where row.id = chosen.id
         returning row.id, row.endpoint_id, row.identity_id, row.organization_id, row.event_id, row.payload, row.attempts,
                   row.lease_until, chosen.url, chosen.has_auth_token, chosen.failing_since, now() as now",
    )
    .bind(MAX_IN_FLIGHT)
    .bind(MAX_IN_FLIGHT_OF_FAILING)
    .bind(capacity.failing)
    .bind(capacity.rows)
    .bind(capacity.lease.as_secs_f64())
    .fetch_all(pool)
    .await
}

/// Gives rows back, so that they can be claimed at once. Their attempts count.
pub(crate) async fn release(pool: &PgPool, claims: &[(Uuid, OffsetDateTime)]) -> Result<(), sqlx::Error> {
    let (ids, leases): (Vec<Uuid>, Vec<OffsetDateTime>) = claims.iter().copied().unzip();
    sqlx::query(
        "update webhook_queue as row
         set lease_until = null
         from unnest($1::uuid[], $2::timestamptz[]) as claimed (id, lease_until)
         where row.id = claimed.id and row.lease_until = claimed.lease_until",
    )
    .bind(ids)
    .bind(leases)
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives back a row that this service could not sign. It is due again in half a minute, and the attempt does not count.
pub(crate) async fn give_back(pool: &PgPool, claim: &Claim) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update webhook_queue
         set lease_until = null, attempts = attempts - 1, due_at = now() + interval '30 seconds'
         where id = $1 and lease_until = $2",
    )
    .bind(claim.id)
    .bind(claim.lease_until)
    .execute(pool)
    .await?;
    Ok(())
}
