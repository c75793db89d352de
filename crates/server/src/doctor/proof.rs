//! Checks of the signatures, and of the second reader.

use anyhow::Context as _;
use identity_log::proof::{self, Refusal, SignError};
use identity_projections::second_reader::{self, Comparison, Difference, MAX_SAMPLED_EVENTS};
use sqlx::PgPool;

use super::Finding;
use crate::signing::SigningSettings;

/// Whether every log continues its last signed checkpoint, and every event older than a minute is signed.
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
    let outside = proof::outside(pool).await.context("cannot look for events outside of histories")?;
    if let Some((organization_id, refusal)) = outside.first() {
        return Ok(refused(organization_id, refusal));
    }
    let count = logs.len();
    let signer = signing.existing_signer(pool.clone())?;
    let mut is_remembered = signer.is_some();
    for (organization_id, is_late) in logs {
        if let Some(signer) = &signer {
            match signer.check(&organization_id).await {
                Err(SignError::Refused(Refusal::Unremembered)) => is_remembered = false,
                Err(SignError::Refused(refusal)) => {
                    return Ok(refused(&organization_id, &refusal));
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
        format!("{count} logs continue their last signed checkpoints")
    } else {
        format!(
            "{count} logs are signed; only a host that has signed can tell whether they continue their last signed checkpoints"
        )
    }))
}

/// Where the signer remembers what was signed, and whether that place answers.
pub(super) async fn memory(pool: &PgPool, signing: &SigningSettings) -> anyhow::Result<Finding> {
    let Some(etcd) = &signing.etcd else {
        let folder = signing.folder();
        let what = if folder.exists() { "what was signed in" } else { "nothing, since there is no" };
        return Ok(Finding::good(format!("this host remembers {what} {}", folder.display())));
    };
    let at = etcd.endpoints.join(", ");
    let Some(signer) = signing.existing_signer(pool.clone())? else {
        return Ok(Finding::good(format!(
            "all hosts remember what was signed in etcd at {at}; etcd was not asked, since there is no signing key here"
        )));
    };
    Ok(match signer.has_memory().await {
        Ok(true) => {
            Finding::good(format!("all hosts remember what was signed in etcd at {at}, which answers"))
        }
        Ok(false) => {
            Finding::good(format!("etcd at {at} answers, and remembers nothing of this signing key"))
        }
        Err(error) => Finding::bad(format!("nothing is signed: {:#}", anyhow::Error::from(error))),
    })
}

/// How many aggregates are compared at most.
const SAMPLE: u32 = 100;

/// Whether postgres-es and cqrs-es load the aggregates of a sample as this software does, and the read models have their rows.
pub(super) async fn readers(pool: &PgPool) -> anyhow::Result<Finding> {
    let compared = second_reader::compare_sample(pool, SAMPLE).await?;
    let Comparison { aggregates, differences, left_out, outdated, .. } = &compared;
    let Some(Difference { what, id, how }) = differences.first() else {
        let mut text = format!(
            "{aggregates} random aggregates are the same when postgres-es reads them, and the read models have their rows"
        );
        if !left_out.is_empty() {
            let few =
                format!("; {} with more than {MAX_SAMPLED_EVENTS} events were left out", left_out.len());
            text.push_str(&few);
        }
        if !outdated.is_empty() {
            let others = format!("; rows of another version were not compared: {}", outdated.join(", "));
            text.push_str(&others);
        }
        return Ok(Finding::good(text));
    };
    Ok(Finding::bad(format!(
        "{} differences in {aggregates} random aggregates, the first of {what} {id} ({how}): run \
         `identityd projections verify --independent`, and verify an export against an earlier checkpoint",
        differences.len()
    )))
}

/// The result if another check failed without which this one means nothing.
pub(super) fn not_asked(failed: &str) -> Finding {
    Finding::good(format!("not checked, since {failed} failed"))
}

fn refused(organization_id: &str, why: &Refusal) -> Finding {
    let remedy = why.remedy(organization_id);
    Finding::bad(format!("the log of {organization_id} is not signed any more: {why}. {remedy}"))
}
