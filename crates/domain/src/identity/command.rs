//! The commands of an identity.

use uuid::Uuid;

use super::filters::Directions;
use super::values::{FilterMode, Mailbox, Signature, Status, Tunnel};
use crate::facts::{Needs, NumberWish, SecretSelection};
use crate::handle::Handle;
use crate::phone::{CallAction, CallHandling, ForwardingChange};

/// A command to an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Create the identity, with everything that belongs to it.
    Create(Box<Create>),
    /// Change some fields; the others stay.
    Update(Box<Update>),
    /// Let one viewer see the identity.
    GrantVisibility {
        /// The id of the access row, if one is created.
        access_id: Uuid,
        /// The viewer.
        viewer: Uuid,
    },
    /// Let every active identity see the identity. Changes nothing if they already may (D4).
    OpenVisibility {
        /// The id of the access row, if one is created.
        access_id: Uuid,
    },
    /// Hide the identity from one viewer. A wildcard is replaced by rows for all other identities (D3).
    RevokeVisibility {
        /// The viewer.
        viewer: Uuid,
    },
    /// Assign a phone number.
    ProvisionPhone(PhoneOrder),
    /// Change how the phone number treats calls, and the filter mode of the phone.
    ChangePhone(PhoneChange),
    /// Release the phone number.
    ReleasePhone {
        /// The id of the number; `None` means whichever number the identity has.
        phone_number_id: Option<Uuid>,
    },
    /// Replace the metadata of the tunnel: JSON text of an object.
    ReplaceTunnelMetadata {
        /// The new text.
        metadata: String,
    },
    /// Let the identity use a vault secret.
    GrantVaultAccess {
        /// The secret.
        vault_secret_id: Uuid,
    },
    /// Stop the identity from using a vault secret.
    RevokeVaultAccess {
        /// The secret.
        vault_secret_id: Uuid,
    },
    /// Give the identity a signing key, in place of the one that it has.
    SetSigningKey {
        /// SHA-256 of the key's text in lower-case hexadecimal.
        secret_sha256: String,
    },
    /// Give the identity a signing key unless it has one, since a webhook subscription of it is created.
    PrepareWebhooks {
        /// SHA-256 of the key's text in lower-case hexadecimal.
        secret_sha256: String,
        /// The phone number that is to own the subscription, if one is.
        phone_number_id: Option<Uuid>,
    },
    /// Delete the identity, with everything that belongs to it.
    Delete,
}

/// The data of a new identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Its id.
    pub id: Uuid,
    /// Its handle.
    pub agent_handle: Handle,
    /// Its display name; `None` means the handle.
    pub display_name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Whether it can be reached over iMessage.
    pub imessage_enabled: bool,
    /// Whether a dedicated iMessage number shares its contact.
    pub contact_sharing_enabled: bool,
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// Its tunnel.
    pub tunnel: Tunnel,
    /// The phone number that it gets at once.
    pub phone: Option<PhoneOrder>,
    /// The vault secrets that it may use at once.
    pub secrets: Option<SecretSelection>,
}

/// An order for a phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneOrder {
    /// The id that the number gets.
    pub id: Uuid,
    /// The kind of number.
    pub wish: NumberWish,
    /// What happens to incoming calls.
    pub calls: CallHandling,
    /// The filter mode of the phone; `None` means the modes that the identity has for it.
    pub filter_mode: Option<FilterMode>,
}

/// Changes of a phone number. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneChange {
    /// The id of the number.
    pub phone_number_id: Uuid,
    /// What happens to incoming calls.
    pub incoming_call_action: Option<CallAction>,
    /// The address of the websocket for accepted calls.
    pub client_websocket_url: Option<Option<String>>,
    /// The address of the webhook that is asked about a call.
    pub incoming_call_webhook_url: Option<Option<String>>,
    /// Where calls are forwarded to.
    pub forwarding: ForwardingChange,
    /// The filter mode of the phone.
    pub filter_mode: Option<FilterMode>,
}

impl PhoneChange {
    /// How calls are treated after the change.
    pub fn calls_after(&self, present: &CallHandling) -> CallHandling {
        let Self { incoming_call_action, client_websocket_url, incoming_call_webhook_url, .. } = self;
        let calls = CallHandling {
            incoming_call_action: incoming_call_action.unwrap_or(present.incoming_call_action),
            client_websocket_url: client_websocket_url
                .as_ref()
                .unwrap_or(&present.client_websocket_url)
                .clone(),
            incoming_call_webhook_url: incoming_call_webhook_url
                .as_ref()
                .unwrap_or(&present.incoming_call_webhook_url)
                .clone(),
            ..present.clone()
        };
        calls.forwarded(&self.forwarding)
    }
}

/// Changes of fields. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// A new handle.
    pub agent_handle: Option<Handle>,
    /// A new display name.
    pub display_name: Option<Option<String>>,
    /// A new description.
    pub description: Option<Option<String>>,
    /// Whether it can be reached over iMessage.
    pub imessage_enabled: Option<bool>,
    /// Whether a dedicated iMessage number shares its contact.
    pub contact_sharing_enabled: Option<bool>,
    /// Filter mode of iMessage.
    pub imessage_filter_mode: Option<FilterMode>,
    /// Filter mode of mail, for both directions.
    pub mail_filter_mode: Option<FilterMode>,
    /// Filter modes of mail by direction.
    pub mail_directions: Directions,
    /// Filter mode of the phone, for both directions. It needs a phone number.
    pub phone_filter_mode: Option<FilterMode>,
    /// Filter modes of the phone by direction. They need no phone number. If both directions are the same afterwards, iMessage
    /// gets that mode, too.
    pub phone_directions: Directions,
    /// Changes of the signature of the mailbox.
    pub signature: SignatureChange,
    /// Active or paused.
    pub status: Option<Status>,
}

/// Changes of a signature. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignatureChange {
    /// The signature in HTML.
    pub html: Option<Option<String>>,
    /// The signature as plain text.
    pub text: Option<Option<String>>,
    /// Whether mail that goes out is to have it.
    pub is_enabled: Option<bool>,
}

impl SignatureChange {
    /// The signature after the change.
    pub fn after(&self, present: &Signature) -> Signature {
        Signature {
            signature_html: self.html.as_ref().unwrap_or(&present.signature_html).clone(),
            signature_text: self.text.as_ref().unwrap_or(&present.signature_text).clone(),
            signature_enabled: self.is_enabled.unwrap_or(present.signature_enabled),
        }
    }
}

impl Command {
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Create(create) => Needs {
                name: Some(create.agent_handle.clone()),
                secrets: create.secrets.clone(),
                number: create.phone.as_ref().map(|order| order.wish.clone()),
                ..Needs::default()
            },
            Self::Update(update) => Needs {
                name: update.agent_handle.clone(),
                own_names: update.agent_handle.is_some(),
                ..Needs::default()
            },
            Self::GrantVisibility { viewer, .. } => Needs { identity: Some(*viewer), ..Needs::default() },
            Self::RevokeVisibility { viewer } => {
                Needs { identity: Some(*viewer), all_identities: true, ..Needs::default() }
            }
            Self::ProvisionPhone(order) => Needs { number: Some(order.wish.clone()), ..Needs::default() },
            Self::GrantVaultAccess { vault_secret_id } => {
                Needs { secrets: Some(SecretSelection::These(vec![*vault_secret_id])), ..Needs::default() }
            }
            Self::OpenVisibility { .. }
            | Self::ChangePhone(_)
            | Self::ReplaceTunnelMetadata { .. }
            | Self::RevokeVaultAccess { .. }
            | Self::SetSigningKey { .. }
            | Self::PrepareWebhooks { .. } => Needs::default(),
            Self::ReleasePhone { .. } => Needs { own_subscriptions: true, ..Needs::default() },
            Self::Delete => Needs { own_names: true, own_subscriptions: true, ..Needs::default() },
        }
    }
}
