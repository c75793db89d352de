//! The types of events that can be sent to an address, and which event of the log is of which type.

use super::{Event as SubscriptionEvent, OwnerKind};
use crate::Event;
use crate::api_key::Event as KeyEvent;
use crate::identity::Event as IdentityEvent;

/// A type of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// Its wire name.
    pub name: &'static str,
    /// When an event of this type happens.
    pub about: &'static str,
    /// Whether this version of the software sends it.
    pub is_sent: bool,
}

/// The type that clients set on the phone number itself.
pub const INCOMING_CALL: &str = "phone.incoming_call";

/// The type that no subscription can have, since nobody but an admin may see an identity when it is created.
pub const IDENTITY_CREATED: &str = "identity.created";

/// The types of this service, and when an event of each happens.
const OWN: [(&str, &str); 14] = [
    (
        IDENTITY_CREATED,
        "An identity was created. Sent to log endpoints only: no identity may see another one yet",
    ),
    (
        "identity.updated",
        "A field of an identity changed, or what belongs to it: its mailbox, its tunnel, its signing key",
    ),
    ("identity.deleted", "An identity was deleted. Its own subscriptions have ended with it"),
    ("identity.access_granted", "One viewer, or every identity, may see an identity from now on"),
    ("identity.access_revoked", "A viewer may no longer see an identity"),
    ("phone_number.provisioned", "An identity got a phone number"),
    ("phone_number.updated", "A phone number treats incoming calls differently"),
    ("phone_number.released", "A phone number was released"),
    ("vault_secret.access_granted", "An identity may use a vault secret from now on"),
    ("vault_secret.access_revoked", "An identity may no longer use a vault secret"),
    ("api_key.issued", "A key that acts as an identity was issued"),
    ("api_key.rotated", "A key that acts as an identity got a new secret"),
    ("api_key.revoked", "A key that acts as an identity was revoked"),
    ("webhook_subscription.disabled", "Nothing is sent to another subscription of an identity any more"),
];

/// The types of channels that this service does not carry yet, as published clients know them.
const OF_CHANNELS: [&str; 44] = [
    "message.received",
    "message.sent",
    "message.forwarded",
    "message.delivered",
    "message.bounced",
    "message.failed",
    "text.received",
    "text.sent",
    "text.delivered",
    "text.delivery_failed",
    "text.delivery_unconfirmed",
    "imessage.received",
    "imessage.reaction_received",
    "imessage.sent",
    "imessage.delivered",
    "imessage.delivery_failed",
    "call.ended",
    "a2a.task.created",
    "a2a.task.message",
    "a2a.task.canceled",
    "a2a.sent_task.updated",
    "slack.dm_received",
    "slack.group_dm_received",
    "slack.channel_message_received",
    "slack.mention_received",
    "slack.thread_reply_received",
    "slack.message_updated",
    "slack.message_deleted",
    "slack.reaction_added",
    "slack.reaction_removed",
    "slack.member_joined",
    "slack.member_left",
    "slack.channel_updated",
    "slack.file_shared",
    "slack.file_changed",
    "slack.file_deleted",
    "slack.pin_added",
    "slack.pin_removed",
    "slack.connection_changed",
    "slack.message_sent",
    "slack.message_send_failed",
    "slack.message_send_unknown",
    "slack.interaction",
    "slack.session_stopped",
];

/// All types.
pub fn all() -> impl Iterator<Item = EventType> {
    let own = OWN.into_iter().map(|(name, about)| EventType { name, about, is_sent: true });
    let about = "Not sent yet: this service does not carry this channel";
    own.chain(OF_CHANNELS.into_iter().map(move |name| EventType { name, about, is_sent: false }))
}

impl EventType {
    /// The type of this name.
    pub fn find(name: &str) -> Option<Self> {
        all().find(|event_type| event_type.name == name)
    }

    /// Whether a subscription of an owner of this kind can have it.
    pub fn is_for(&self, owner: OwnerKind) -> bool {
        match owner {
            OwnerKind::Mailbox => self.name.starts_with("message."),
            OwnerKind::PhoneNumber => self.name.starts_with("text."),
            OwnerKind::Identity => self.name != IDENTITY_CREATED,
        }
    }
}

/// The type as which an event of the log is sent; `None` if it is not sent.
pub const fn type_of(event: &Event) -> Option<&'static str> {
    match event {
        Event::Identity(event) => Some(type_of_identity_event(event)),
        Event::ApiKey(KeyEvent::Issued(_)) => Some("api_key.issued"),
        Event::ApiKey(KeyEvent::Rotated { .. }) => Some("api_key.rotated"),
        Event::ApiKey(KeyEvent::Revoked {}) => Some("api_key.revoked"),
        Event::WebhookSubscription(SubscriptionEvent::Disabled { .. }) => {
            Some("webhook_subscription.disabled")
        }
        Event::WebhookSubscription(
            SubscriptionEvent::Created(_) | SubscriptionEvent::Changed(_) | SubscriptionEvent::Deleted { .. },
        )
        | Event::Organization(_)
        | Event::Vault(_)
        | Event::VaultSecret(_) => None,
    }
}

const fn type_of_identity_event(event: &IdentityEvent) -> &'static str {
    match event {
        IdentityEvent::Created { .. } => IDENTITY_CREATED,
        IdentityEvent::Renamed { .. }
        | IdentityEvent::DisplayNameChanged { .. }
        | IdentityEvent::DescriptionChanged { .. }
        | IdentityEvent::ImessageChanged { .. }
        | IdentityEvent::ContactSharingChanged { .. }
        | IdentityEvent::FilterModeChanged { .. }
        | IdentityEvent::FilterModesSplit { .. }
        | IdentityEvent::MailboxSignatureChanged { .. }
        | IdentityEvent::StatusChanged { .. }
        | IdentityEvent::TunnelMetadataChanged { .. }
        | IdentityEvent::SigningKeySet { .. } => "identity.updated",
        IdentityEvent::VisibilityGranted { .. } | IdentityEvent::VisibilityOpened { .. } => {
            "identity.access_granted"
        }
        IdentityEvent::VisibilityRevoked { .. } | IdentityEvent::VisibilityNarrowed { .. } => {
            "identity.access_revoked"
        }
        IdentityEvent::PhoneProvisioned { .. } => "phone_number.provisioned",
        IdentityEvent::PhoneChanged { .. } => "phone_number.updated",
        IdentityEvent::PhoneReleased { .. } => "phone_number.released",
        IdentityEvent::VaultAccessGranted { .. } => "vault_secret.access_granted",
        IdentityEvent::VaultAccessRevoked { .. } => "vault_secret.access_revoked",
        IdentityEvent::Deleted { .. } => "identity.deleted",
    }
}
