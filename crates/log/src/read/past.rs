//! Queries about a moment in the past: which identity had a handle then, which identities were deleted by then, and
//! whether an event to come can still have that moment.

use std::time::Duration;

use sqlx::PgExecutor;
use time::OffsetDateTime;

use crate::error::ReadError;
use crate::write::head::MAX_DRAFT_AGE;

/// Whether no event to come can have `moment` or an earlier one. Returns false if `moment` is in the future. If it passed
/// less than 50 ms ago, this waits until 50 ms have passed.
pub async fn is_settled(
    executor: impl PgExecutor<'_> + Copy,
    moment: OffsetDateTime,
) -> Result<bool, ReadError> {
    let reached: bool =
        sqlx::query_scalar("select recorded_at >= $1 from log_head").bind(moment).fetch_one(executor).await?;
    if reached {
        return Ok(true);
    }
    // `moment` is after the last event. `for share` waits for the batch that is being written. A later batch has a moment
    // from under the lock, or a draft that is less than 50 ms old.
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
        match MAX_DRAFT_AGE.checked_sub(Duration::from_micros(passed)) {
            Some(rest) => tokio::time::sleep(rest).await,
            None => return Ok(true),
        }
    }
}

/// All identities of an organization that ever had this handle. The one that took it last comes first.
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

/// The identity that took this handle last, up to the sequence `upto`. It may have given the handle up by then.
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

/// Those of `identities` that were deleted by the sequence `upto`. A deletion is the last event of an identity, so
/// one row for each identity is read.
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
