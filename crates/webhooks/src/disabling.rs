//! Disables subscriptions.

use std::error::Error;

use identity_domain::Command;
use identity_domain::webhook_subscription::{Command as SubscriptionCommand, DisableReason};
use identity_log::{Actor, Append, Fate, Log, Metadata, ShownAccess};
use uuid::Uuid;

/// Disables a subscription, unless it has another address than `url` by now. If that fails, whoever called this finds the same
/// reason again later.
pub(crate) async fn disable(
    log: &Log,
    organization: &str,
    subscription: Uuid,
    url: Option<String>,
    reason: DisableReason,
    request: Uuid,
) {
    let append = Append {
        organization_id: organization.to_owned(),
        aggregate_id: subscription.to_string(),
        command: Command::WebhookSubscription(SubscriptionCommand::Disable { reason, url }),
        actor: Actor::Service,
        secret_sha256: String::new(),
        metadata: Metadata::new(&Actor::Service, &request.to_string()),
        expected_version: None,
        repeatable: None,
        shown_access: ShownAccess::None,
        ciphertexts: vec![],
        companion: None,
        is_bulk: false,
        fate: Fate::default(),
    };
    let reason = reason.as_str();
    match log.append(append).await {
        Ok(committed) if committed.events.is_empty() => {}
        Ok(_) => tracing::warn!(%subscription, reason, "disabled a webhook subscription"),
        Err(error) => {
            tracing::warn!(error = &error as &dyn Error, %subscription, "cannot disable a webhook subscription");
        }
    }
}
