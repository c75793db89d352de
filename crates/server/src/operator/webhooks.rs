//! The work of operators on webhook subscriptions and log endpoints.

use anyhow::Context as _;
use identity_domain::Command;
use identity_domain::webhook_subscription::{Command as SubscriptionCommand, DisableReason};
use identity_projections::identities::Viewer;
use identity_projections::webhook_subscriptions::{self as subscriptions, Filter, Row};
use identity_webhooks::deliveries;
use identity_webhooks::log_endpoints::{self, LogEndpoint};
use uuid::Uuid;

use super::{Operator, append};

/// What an id of `identityd webhooks` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A webhook subscription.
    Subscription,
    /// A log endpoint.
    LogEndpoint,
}

/// What was found by such an id.
enum Webhook {
    Subscription(Row),
    LogEndpoint(LogEndpoint),
}

impl Kind {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "subscription",
            Self::LogEndpoint => "log_endpoint",
        }
    }

    /// What people call it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Subscription => "webhook subscription",
            Self::LogEndpoint => "log endpoint",
        }
    }
}

impl Operator {
    /// All webhook subscriptions of an organization, given by its id or name, the oldest first.
    pub async fn list_webhooks(&self, organization: &str) -> anyhow::Result<Vec<Row>> {
        let organization_id = self.find_organization(organization).await?;
        let all = Filter::default();
        let listed =
            subscriptions::list(&self.pool, &organization_id, &Viewer::Admin, &all, None, i64::MAX).await;
        let mut rows = listed.context("cannot list webhook subscriptions")?;
        rows.reverse();
        Ok(rows)
    }

    /// All log endpoints of an organization, given by its id or name, the oldest first.
    pub async fn list_log_endpoints(&self, organization: &str) -> anyhow::Result<Vec<LogEndpoint>> {
        let organization_id = self.find_organization(organization).await?;
        log_endpoints::list(&self.pool, &organization_id).await.context("cannot list log endpoints")
    }

    /// Sends nothing to a webhook subscription or log endpoint until a client changes it, or asks for a replay. One that is
    /// disabled already stays as it is. Returns which of the two it is.
    pub async fn disable_webhook(&self, webhook_id: &str) -> anyhow::Result<Kind> {
        match self.webhook(webhook_id).await? {
            Webhook::LogEndpoint(endpoint) => {
                let disabling = log_endpoints::disable(&self.pool, endpoint.id).await;
                disabling.context("cannot disable the log endpoint")?;
                Ok(Kind::LogEndpoint)
            }
            Webhook::Subscription(row) => {
                let disable = SubscriptionCommand::Disable { reason: DisableReason::Operator, url: None };
                let command = Command::WebhookSubscription(disable);
                let disabling = append(&row.organization_id, &row.id.to_string(), command);
                self.appending(async |log| Ok(log.append(disabling).await?)).await?;
                Ok(Kind::Subscription)
            }
        }
    }

    /// Makes everything due that waits for another attempt at a webhook subscription or log endpoint. Returns how much that is.
    pub async fn retry_webhook(&self, webhook_id: &str) -> anyhow::Result<u64> {
        let retrying = match self.webhook(webhook_id).await? {
            Webhook::LogEndpoint(endpoint) => log_endpoints::retry(&self.pool, endpoint.id).await,
            Webhook::Subscription(row) => deliveries::retry(&self.pool, row.id).await,
        };
        retrying.context("cannot make deliveries due")
    }

    /// The webhook subscription or log endpoint with this id.
    async fn webhook(&self, webhook_id: &str) -> anyhow::Result<Webhook> {
        let id: Option<Uuid> = webhook_id.parse().ok();
        let id = id.with_context(|| {
            format!("{webhook_id} is not the id of a webhook subscription or log endpoint")
        })?;
        let endpoint =
            log_endpoints::find(&self.pool, id).await.context("cannot look the log endpoint up")?;
        if let Some(endpoint) = endpoint {
            return Ok(Webhook::LogEndpoint(endpoint));
        }
        let row =
            subscriptions::row(&self.pool, id).await.context("cannot look the webhook subscription up")?;
        row.map(Webhook::Subscription)
            .with_context(|| format!("there is no webhook subscription or log endpoint {webhook_id}"))
    }
}
