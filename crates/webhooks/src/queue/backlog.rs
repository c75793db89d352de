//! How many deliveries may wait, and what happens beyond that: a subscription is disabled, and what waits for it is deleted.
//!
//! Rows are counted each time that a tenth of a limit was queued. So a limit can be passed by a tenth, and by another tenth for
//! each process that has read the log in the meantime.

use std::collections::HashMap;

use identity_domain::webhook_subscription::DisableReason;
use identity_log::{Log, ids};
use sqlx::PgPool;
use uuid::Uuid;

use super::rows::Row;
use crate::disabling::disable;

/// How many deliveries may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLimits {
    /// For one subscription. Beyond it, the subscription is disabled.
    pub subscription: i64,
    /// For all subscriptions of an organization. Beyond it, the one for which most deliveries wait is disabled.
    pub organization: i64,
}

impl Default for WaitingLimits {
    fn default() -> Self {
        Self { subscription: 100_000, organization: 1_000_000 }
    }
}

impl WaitingLimits {
    fn step_of(limit: i64) -> i64 {
        (limit / 10).max(1)
    }
}

/// How many rows were queued since those that wait were last counted.
#[derive(Debug)]
pub(super) struct Backlog {
    limits: WaitingLimits,
    subscriptions: HashMap<Uuid, i64>,
    organizations: HashMap<String, i64>,
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
            let queued = self.subscriptions.entry(id).or_default();
            *queued += 1;
            if *queued >= WaitingLimits::step_of(self.limits.subscription) {
                self.subscriptions.remove(&id);
                if is_over(pool, id, self.limits.subscription).await? {
                    excesses.push(Excess { organization: organization.clone(), subscription: id });
                }
            }
            let queued = self.organizations.entry(organization.clone()).or_default();
            *queued += 1;
            if *queued >= WaitingLimits::step_of(self.limits.organization) {
                self.organizations.remove(organization);
                let largest = largest_beyond(pool, organization, self.limits.organization).await?;
                let excess = |subscription| Excess { organization: organization.clone(), subscription };
                excesses.extend(largest.map(excess));
            }
        }
        Ok(excesses)
    }
}

/// Whether more rows than these wait for a subscription. No more are counted.
async fn is_over(pool: &PgPool, subscription: Uuid, limit: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) > $2 from (select from webhook_queue where endpoint_id = $1 limit $2 + 1) as waiting",
    )
    .bind(subscription)
    .bind(limit)
    .fetch_one(pool)
    .await
}

/// The subscription for which most rows wait, if more than these wait in its organization.
async fn largest_beyond(pool: &PgPool, organization: &str, limit: i64) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "with waiting as materialized (
             select subscription.id,
                    (select count(*) from webhook_queue where endpoint_id = subscription.id) as rows
             from read_model.webhook_subscriptions as subscription
             where organization_id = $1 and status = 'active'
         )
         select id from waiting
         where (select sum(rows) from waiting) > $2
         order by rows desc
         limit 1",
    )
    .bind(organization)
    .bind(limit)
    .fetch_optional(pool)
    .await
}
