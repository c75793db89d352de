//! The work of operators on webhook subscriptions.

use anyhow::Context as _;
use identity_domain::Command;
use identity_domain::webhook_subscription::{Command as SubscriptionCommand, DisableReason};
use identity_projections::identities::Viewer;
use identity_projections::webhook_subscriptions::{self as subscriptions, Filter, Row};
use uuid::Uuid;

use super::{Operator, append};

impl Operator {
    /// All webhook subscriptions of an organization, given by its id or name, the oldest first.
    pub async fn list_webhooks(&self, organization: &str) -> anyhow::Result<Vec<Row>> {
        let organization_id = self.find_organization(organization).await?;
        let all = Filter::default();
        let listed = subscriptions::list(&self.pool, &organization_id, &Viewer::Admin, &all).await;
        let mut rows = listed.context("cannot list webhook subscriptions")?;
        rows.reverse();
        Ok(rows)
    }

    /// Sends nothing to a webhook subscription until a client changes it. One that is disabled already stays as it is.
    pub async fn disable_webhook(&self, subscription_id: &str) -> anyhow::Result<()> {
        let id: Option<Uuid> = subscription_id.parse().ok();
        let id = id.with_context(|| format!("{subscription_id} is not the id of a webhook subscription"))?;
        let found = subscriptions::row(&self.pool, id).await;
        let found = found.context("cannot look the webhook subscription up")?;
        let row = found.with_context(|| format!("there is no webhook subscription {subscription_id}"))?;
        let disable = SubscriptionCommand::Disable { reason: DisableReason::Operator, url: None };
        let command = Command::WebhookSubscription(disable);
        let disabling = append(&row.organization_id, &id.to_string(), command);
        self.appending(async |log| Ok(log.append(disabling).await?)).await?;
        Ok(())
    }
}
