//! Takes rows of the queue that are due.

use std::time::Duration;

use identity_projections::identities::MAY_BE_SHOWN;
use sqlx::{FromRow, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::credentials::Sealed;
use crate::places::Free;

/// How many deliveries to one endpoint are on their way at the same time.
const MAX_IN_FLIGHT: i64 = 8;

/// How many, while everything that is sent to it fails.
const MAX_IN_FLIGHT_OF_FAILING: i64 = 1;

/// How many deliveries of one organization to endpoints to which everything fails are on their way at the same time, in all
/// processes. They are counted apart from the others.
const SHARE_OF_FAILING: i64 = 64;

/// How many rows that may not be shown any more are passed over in one claim. Where there are more, the endpoint waits until the
/// fan-out has deleted them, and delays no other one.
const MAX_HIDDEN: &str = "16";

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
    /// When the first of the failures began that the endpoint has had since its last success; `None` if it has had none, or if
    /// nothing was sent to it for so long that the time begins anew.
    pub(crate) failing_since: Option<OffsetDateTime>,
    #[sqlx(flatten)]
    pub(crate) sealed: Sealed,
    /// The clock of the database.
    pub(crate) now: OffsetDateTime,
}

/// What may be claimed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// The number of rows, and the share of an organization, of those to endpoints that work.
    pub(crate) free: Free,
    /// Whether rows for endpoints to which everything fails may be among them.
    pub(crate) failing: bool,
    /// For how long they are claimed.
    pub(crate) lease: Duration,
    /// After how long without an attempt an endpoint is no longer known to be failing.
    pub(crate) longest_pause: Duration,
}

/// SQL of [`claim`]. [`MAY_BE_SHOWN`] stands for `{shown}`: what was hidden a moment ago waits until the fan-out deletes it. The
/// columns of [`Sealed`] come behind it.
const CLAIM: &str = "with recursive endpoint (id) as (
             (select endpoint_id from webhook_queue order by endpoint_id limit 1)
             union all
             select (select endpoint_id from webhook_queue where endpoint_id > endpoint.id order by endpoint_id limit 1)
             from endpoint
             where endpoint.id is not null
         ), known as materialized (
             select subscription.*, failing_since, last_attempt_at, failing_since is not null as is_failing
             from endpoint
             cross join lateral (
                 select id, organization_id, url
                 from read_model.webhook_subscriptions
                 where id = endpoint.id and status = 'active'
                 offset 0
             ) as subscription
             left join lateral (
                 select failing_since, last_attempt_at from webhook_endpoints
                 where endpoint_id = subscription.id and url = subscription.url
                 offset 0
             ) as failing on true
         ), leased as materialized (
             select endpoint_id, count(*) as rows from webhook_queue where lease_until > now() group by endpoint_id
         ), full_share as materialized (
             select organization_id, is_failing
             from known join leased on endpoint_id = id
             group by organization_id, is_failing
             having sum(rows) >= case when is_failing then $4::bigint else $3::bigint end
         ), counted as (
             select known.*, coalesce(leased.rows, 0) as in_flight, due.rows as due, random() as chance
             from known
             left join leased on endpoint_id = id
             cross join lateral (
                 select count(*) as rows
                 from (select from webhook_queue
                       where endpoint_id = known.id and due_at <= now() and (lease_until is null or lease_until <= now())
                       limit greatest(case when is_failing then $2::bigint else $1::bigint end - coalesce(leased.rows, 0), 0)) as free_rows
             ) as due
             where (organization_id, is_failing) not in (select organization_id, is_failing from full_share)
               and ($5 or not is_failing)
         ), shared as (
             select *, sum(in_flight) over (partition by organization_id, is_failing)
                       + sum(due) over (partition by organization_id, is_failing order by in_flight, chance, id
                                        rows unbounded preceding) as upto
             from counted
         ), ready as materialized (
             select *, least(due, due + case when is_failing then $4::bigint else $3::bigint end - upto)::bigint as free
             from shared
             order by is_failing, upto, chance
         ), chosen as materialized (
             select due.id, ready.url,
                    case when ready.last_attempt_at > now() - make_interval(secs => $8) then ready.failing_since end as failing_since
             from ready
             cross join lateral (
                 select id
                 from (
                     select id, organization_id, identity_id, shown_id
                     from webhook_queue
                     where endpoint_id = ready.id and due_at <= now() and (lease_until is null or lease_until <= now())
                     order by due_at
                     limit ready.free + {hidden}
                     for update skip locked
                 ) as delivery
                 where {shown}
                 limit ready.free
             ) as due
             where ready.free > 0
             limit $6
         ), fast as (
             select set_config('synchronous_commit', 'off', true)
         )
         update webhook_queue as row
         set lease_until = clock_timestamp() + make_interval(secs => $7), attempts = attempts + 1
         from chosen, fast
         where row.id = chosen.id
         returning row.id, row.endpoint_id, row.identity_id, row.organization_id, row.event_id, row.payload, row.attempts,
                   row.lease_until, chosen.url, chosen.failing_since, now() as now";

/// Claims rows that are due. Endpoints that work and endpoints to which everything fails are looked at separately, and the latter
/// come last:
/// - an endpoint gets as many rows as it may have on their way ([`MAX_IN_FLIGHT`]);
/// - an organization gets as many as it may have on their way (`capacity.free.share`), and first for those of its endpoints that have
///   the fewest;
/// - if this process cannot send them all, the organizations that have the fewest on their way come first.
///
/// The endpoints are found by jumping through the index from one to the next, however many rows each has. Due rows are counted only for
/// endpoints whose organization may have more deliveries on their way. An organization that has used up its share can have a
/// thousand endpoints with due rows, and counting those would make the claims of all others slow.
pub(crate) async fn claim(pool: &PgPool, capacity: &Capacity) -> Result<Vec<Claim>, sqlx::Error> {
    let claim = CLAIM.replace("{shown}", MAY_BE_SHOWN).replace("{hidden}", MAX_HIDDEN);
    sqlx::query_as(&format!("{claim}, {}", Sealed::columns("row.identity_id", "row.endpoint_id")))
        .bind(MAX_IN_FLIGHT)
        .bind(MAX_IN_FLIGHT_OF_FAILING)
        .bind(capacity.free.share)
        .bind(capacity.free.share.min(SHARE_OF_FAILING))
        .bind(capacity.failing)
        .bind(capacity.free.limit())
        .bind(capacity.lease.as_secs_f64())
        .bind(capacity.longest_pause.as_secs_f64())
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

/// Gives back a row whose attempt could not be recorded. It is due again after `delay`, and the attempt counts.
pub(crate) async fn postpone(pool: &PgPool, claim: &Claim, delay: Duration) -> Result<(), sqlx::Error> {
    return_row(pool, claim, delay, claim.attempts).await
}

/// Gives back a row that this service could not send. It is due again after `delay`, and the attempt does not count.
pub(crate) async fn give_back(pool: &PgPool, claim: &Claim, delay: Duration) -> Result<(), sqlx::Error> {
    return_row(pool, claim, delay, claim.attempts - 1).await
}

async fn return_row(pool: &PgPool, claim: &Claim, delay: Duration, attempts: i32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update webhook_queue
         set lease_until = null, attempts = $3, due_at = now() + make_interval(secs => $4)
         where id = $1 and lease_until = $2",
    )
    .bind(claim.id)
    .bind(claim.lease_until)
    .bind(attempts)
    .bind(delay.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}
