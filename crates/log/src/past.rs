//! Questions about a moment that has passed: which identity had a handle then, who was gone by then, and whether the
//! moment can still get events.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::draft::LONGEST_DRAFT;
use crate::error::ReadError;

/// Whether `moment` has passed for good, so that no event to come can bear it or an earlier one; in the future it has
/// not. Waits for one that has just passed.
pub async fn is_settled(
    executor: impl PgExecutor<'_> + Copy,
    moment: OffsetDateTime,
) -> Result<bool, ReadError> {
    let reached: bool =
        sqlx::query_scalar("select recorded_at >= $1 from log_head").bind(moment).fetch_one(executor).await?;
    if reached {
        return Ok(true);
    }
    // Behind the last event. Whoever is writing has a moment already and is waited for; whoever comes later takes one
    // under the lock, or not long before it.
    loop {
        let passed: i64 = sqlx::query_scalar(
            "with head as materialized (select position from log_head for share)
             select (extract(epoch from clock_timestamp() - $1) * 1000000)::bigint from head",
        )
        .bind(moment)
        .fetch_one(executor)
        .await?;
        let Some(passed) = u64::try_from(passed).ok().filter(|passed| *passed > 0) else {
            return Ok(false);
        };
        match LONGEST_DRAFT.checked_sub(Duration::from_micros(passed)) {
            Some(rest) => tokio::time::sleep(rest).await,
            None => return Ok(true),
        }
    }
}

/// Every identity of an organization that ever had this handle, whoever took it last first.
pub async fn holders(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    handle: &str,
) -> Result<Vec<String>, ReadError> {
    let ids = sqlx::query_scalar(
        "select aggregate_id
         from events
         where organization_id = $1
           and (payload ->> 'agent_handle') collate \"C\" = $2
           and aggregate_type = 'identity'
           and event_type in ('identity.created', 'identity.renamed')
         group by aggregate_id
         order by max(organization_sequence) desc",
    )
    .bind(organization_id)
    .bind(handle)
    .fetch_all(executor)
    .await?;
    Ok(ids)
}

/// The identity that was the last to take this handle by then. If it had given it up, nobody had it.
pub async fn last_holder(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
    handle: &str,
    upto: i64,
) -> Result<Option<String>, ReadError> {
    let id = sqlx::query_scalar(
        "select aggregate_id
         from events
         where organization_id = $1
           and (payload ->> 'agent_handle') collate \"C\" = $2
           and aggregate_type = 'identity'
           and event_type in ('identity.created', 'identity.renamed')
           and organization_sequence <= $3
         order by organization_sequence desc
         limit 1",
    )
    .bind(organization_id)
    .bind(handle)
    .bind(upto)
    .fetch_optional(executor)
    .await?;
    Ok(id)
}

/// Which of these identities were deleted by then. A deletion is the last event of its identity, so one row of each is
/// looked at.
pub async fn gone(
    executor: impl PgExecutor<'_>,
    identities: &[String],
    upto: i64,
) -> Result<Vec<String>, ReadError> {
    let ids = sqlx::query_scalar(
        "select wanted
         from unnest($1::text[]) as wanted,
              lateral (select event_type, organization_sequence
                       from events
                       where aggregate_type = 'identity' and aggregate_id = wanted
                       order by sequence desc
                       limit 1) as last
         where event_type = 'identity.deleted' and organization_sequence <= $2",
    )
    .bind(identities)
    .bind(upto)
    .fetch_all(executor)
    .await?;
    Ok(ids)
}
