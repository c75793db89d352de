//! Checks of what is signed.

use anyhow::Context as _;
use identity_log::proof::{Refusal, SignError};
use identity_log::stock;
use sqlx::PgPool;

use super::Finding;
use crate::signing::SigningSettings;

/// Whether every log continues what was signed of it, and is signed but for the last minute.
pub(super) async fn signatures(pool: &PgPool, signing: &SigningSettings) -> anyhow::Result<Finding> {
    let logs: Vec<(String, bool)> = sqlx::query_as(
        "select organization_id,
                exists (select from events
                        where events.organization_id = head.organization_id
                          and organization_sequence = coalesce(signed.size, 0) + 1
                          and recorded_at < clock_timestamp() - interval '1 minute')
         from organization_heads as head
         left join lateral (select size from checkpoints
                            where organization_id = head.organization_id
                            order by epoch desc, size desc limit 1) as signed on true
         order by organization_id",
    )
    .fetch_all(pool)
    .await
    .context("cannot look at the checkpoints")?;
    let count = logs.len();
    let signer = signing.existing_signer(pool.clone())?;
    let mut is_remembered = signer.is_some();
    for (organization_id, is_late) in logs {
        if let Some(signer) = &signer {
            match signer.check(&organization_id).await {
                Err(SignError::Refused(Refusal::Unremembered)) => is_remembered = false,
                Err(SignError::Refused(refusal)) => {
                    return Ok(refused(&organization_id, &refusal.to_string()));
                }
                checked => checked?,
            }
        }
        if is_late {
            return Ok(Finding::bad(format!(
                "the log of {organization_id} has events that are not signed and older than a minute: start the service, \
                 and look at its log for the reason"
            )));
        }
    }
    Ok(Finding::good(if is_remembered {
        format!("{count} logs continue what was signed of them")
    } else {
        format!(
            "{count} logs are signed; whether they continue what was signed before is known only on hosts that have signed"
        )
    }))
}

/// How many events are picked for the comparison of readers. Each leads to an aggregate.
const SAMPLE: u32 = 100;

/// Whether cqrs-es and postgres-es load aggregates of a sample as this software folds them.
pub(super) async fn readers(pool: &PgPool) -> anyhow::Result<Finding> {
    let stock::Compared { aggregates, differences } = stock::compare_sample(pool, SAMPLE).await?;
    let Some(stock::Difference { kind, aggregate_id, how }) = differences.first() else {
        return Ok(Finding::good(format!("{aggregates} aggregates are read alike by postgres-es")));
    };
    Ok(Finding::bad(format!(
        "of {aggregates} aggregates {} are not read alike by postgres-es, the first is {} {aggregate_id} ({how}): run \
         `identityd projections verify --independent`, and verify an export against an earlier checkpoint",
        differences.len(),
        kind.as_str()
    )))
}

/// A log that is not whole is reported by another check.
pub(super) fn not_asked() -> Finding {
    Finding::good("not looked at, since the log is not whole")
}

fn refused(organization_id: &str, why: &str) -> Finding {
    Finding::bad(format!(
        "the log of {organization_id} is not signed any more: {why}. Find out which history is the right one, then run \
         `identityd audit new-epoch --org {organization_id}`"
    ))
}
