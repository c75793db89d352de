//! How much may wait to be delivered, and what happens beyond that: a subscription is disabled, and what waits for it is deleted.
//!
//! What waits is counted each time that a tenth of a limit was queued. So a limit can be passed by a tenth, and by another tenth for
//! each process that has read the log in the meantime.

use std::collections::HashMap;

use identity_domain::webhook_subscription::DisableReason;
use identity_log::{Log, ids};
use sqlx::PgPool;
use uuid::Uuid;

use super::rows::Row;
use crate::amount::Amount;
use crate::disabling::disable;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLimits {
    /// For one subscription. Beyond it, the subscription is disabled.
    pub subscription: Amount,
    /// For all subscriptions of an organization. Beyond it, those for which most waits are disabled, as many as it takes.
    pub organization: Amount,
}

impl Default for WaitingLimits {
    fn default() -> Self {
        Self {
            subscription: Amount { deliveries: 100_000, bytes: 256 << 20 },
            organization: Amount { deliveries: 1_000_000, bytes: 2 << 30 },
        }
    }
}

/// Counts one more row, and begins anew at a tenth of the limit. Returns whether it did.
fn is_tenth(queued: &mut Amount, row: &Row, limit: Amount) -> bool {
    queued.add(row.bytes());
    let is_tenth = queued.has_a_tenth_of(limit);
    if is_tenth {
        *queued = Amount::default();
    }
    is_tenth
}

/// What was queued since that which waits was last counted.
#[derive(Debug)]
pub(super) struct Backlog {
    limits: WaitingLimits,
    subscriptions: HashMap<Uuid, Amount>,
    organizations: HashMap<String, Amount>,
}

/// A subscription that is disabled.
struct Excess {
    organization: String,
    subscription: Uuid,
}

impl Backlog {
    pub(super) fn new(limits: WaitingLimits) -> Self {
        Self { limits, subscriptions: HashMap::new(), organizations: HashMap::new() }
    }

    /// Counts what waits for these subscriptions, if enough was queued since the last time, and disables what is over a limit.
    pub(super) async fn check(&mut self, pool: &PgPool, log: &Log, rows: &[Row]) -> Result<(), sqlx::Error> {
        for excess in self.excesses(pool, rows).await? {
            let Excess { organization, subscription } = excess;
            disable(log, &organization, subscription, None, DisableReason::Backlog, ids::mint()).await;
        }
        Ok(())
    }

    async fn excesses(&mut self, pool: &PgPool, rows: &[Row]) -> Result<Vec<Excess>, sqlx::Error> {
        let mut excesses = vec![];
        for row in rows {
            let (id, organization) = (row.subscription.id, &row.subscription.organization_id);
            let excess = |subscription| Excess { organization: organization.clone(), subscription };
            let limit = self.limits.subscription;
            let queued = self.subscriptions.entry(id).or_default();
            if is_tenth(queued, row, limit) && is_over(pool, id, limit).await? {
                excesses.push(excess(id));
            }
            let limit = self.limits.organization;
            if is_tenth(self.organizations.entry(organization.clone()).or_default(), row, limit) {
                excesses.extend(largest_beyond(pool, organization, limit).await?.into_iter().map(excess));
            }
        }
        Ok(excesses)
    }
}

/// Whether more than this waits for a subscription. No more rows are counted.
async fn is_over(pool: &PgPool, subscription: Uuid, limit: Amount) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) > $2 or coalesce(sum(octet_length(payload)), 0) > $3
         from (select payload from webhook_queue where endpoint_id = $1 limit $2 + 1) as waiting",
    )
    .bind(subscription)
    .bind(limit.deliveries)
    .bind(limit.bytes)
    .fetch_one(pool)
    .await
}

/// The subscriptions for which most waits in an organization: as many as it takes that no more than this waits for the others.
async fn largest_beyond(pool: &PgPool, organization: &str, limit: Amount) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select id
         from (
             select id, sum(rows) over smaller as rows, sum(bytes) over smaller as bytes
             from read_model.webhook_subscriptions as subscription
             cross join lateral (
                 select count(*) as rows, coalesce(sum(octet_length(payload)), 0) as bytes
                 from webhook_queue where endpoint_id = subscription.id
             ) as waiting
             where organization_id = $1 and status = 'active'
             window smaller as (order by greatest(rows::float8 / $2, bytes::float8 / $3), id rows unbounded preceding)
         ) as with_all_smaller
         where rows > $2 or bytes > $3",
    )
    .bind(organization)
    .bind(limit.deliveries)
    .bind(limit.bytes)
    .fetch_all(pool)
    .await
}
