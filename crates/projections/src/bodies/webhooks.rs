//! Bodies of webhook subscriptions.

use identity_domain::webhook_subscription::catalog::{self, EventType};
use identity_domain::webhook_subscription::{ContextConfig, DisableReason, OwnerKind};
use identity_log::recorded::timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::webhook_subscriptions::Row;

/// An address to which events of one owner are sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookSubscription<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its organization.
    pub organization_id: &'a str,
    /// The mailbox that owns it.
    #[schema(required)]
    pub mailbox_id: Option<Uuid>,
    /// The phone number that owns it.
    #[schema(required)]
    pub phone_number_id: Option<Uuid>,
    /// The identity that owns it. One of the three is there.
    #[schema(required)]
    pub agent_identity_id: Option<Uuid>,
    /// The identity that owns it, or to which its mailbox or its phone number belongs.
    pub owner_identity_id: Uuid,
    /// The address.
    #[schema(example = "https://harbor.example/events")]
    pub url: &'a str,
    /// The types of events that are sent.
    pub event_types: Vec<&'a str>,
    // Published clients know no other word.
    /// Always `active`; `disabled_reason` says whether anything is sent.
    #[schema(example = "active")]
    pub status: &'static str,
    /// Why nothing is sent until the subscription is changed; null if events are sent.
    #[schema(required, value_type = Option<DisableReason>)]
    pub disabled_reason: Option<&'a str>,
    /// How much of a conversation is sent along.
    #[schema(required)]
    pub context_config: Option<ContextConfig>,
    /// Whether deliveries carry a bearer token, which nobody is shown.
    pub has_auth_token: bool,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl<'a> WebhookSubscription<'a> {
    /// The subscription of a row.
    pub fn of(row: &'a Row) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: row.id,
            organization_id: &row.organization_id,
            mailbox_id: row.owner(OwnerKind::Mailbox),
            phone_number_id: row.owner(OwnerKind::PhoneNumber),
            agent_identity_id: row.owner(OwnerKind::Identity),
            owner_identity_id: row.identity_id,
            url: &row.url,
            event_types: row.event_types.iter().collect(),
            status: "active",
            disabled_reason: row.disabled_reason.as_deref(),
            context_config: row.context()?,
            has_auth_token: row.has_auth_token,
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.changed_at),
        })
    }
}

/// A new subscription.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedWebhookSubscription<'a> {
    /// The subscription.
    #[serde(flatten)]
    pub subscription: WebhookSubscription<'a>,
    /// The identity's signing key, shown this once, if it had none; null if it had one, and when the request is repeated under
    /// its `Idempotency-Key`.
    #[schema(required, example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")]
    pub signing_key: Option<&'a str>,
    /// Why the key is not shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a str>,
}

/// Subscriptions.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookSubscriptions<'a> {
    /// The subscriptions, newest first.
    pub subscriptions: Vec<WebhookSubscription<'a>>,
}

/// Which events can be sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookCatalog {
    /// Always true: an identity may own a subscription to any mix of types.
    #[schema(example = true)]
    pub supports_identity_subscriptions: bool,
    /// The types.
    pub event_types: Vec<WebhookEventType>,
}

impl WebhookCatalog {
    /// The catalog.
    pub fn new() -> Self {
        let event_types = catalog::all().map(WebhookEventType::from).collect();
        Self { supports_identity_subscriptions: true, event_types }
    }
}

impl Default for WebhookCatalog {
    fn default() -> Self {
        Self::new()
    }
}

/// A type of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookEventType {
    /// Its name.
    #[schema(example = "identity.updated")]
    pub name: &'static str,
    /// When an event of this type happens.
    pub description: &'static str,
    /// The owners whose subscriptions can have it.
    pub owners: Vec<OwnerKind>,
    /// Whether this version of the service sends it.
    pub is_sent: bool,
}

impl From<EventType> for WebhookEventType {
    fn from(event_type: EventType) -> Self {
        let owners = [OwnerKind::Mailbox, OwnerKind::PhoneNumber, OwnerKind::Identity];
        Self {
            name: event_type.name,
            description: event_type.about,
            owners: owners.into_iter().filter(|owner| event_type.is_for(*owner)).collect(),
            is_sent: event_type.is_sent,
        }
    }
}
