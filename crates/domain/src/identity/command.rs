//! What may be asked of an identity.

use uuid::Uuid;

use super::event::{FilterMode, Mailbox, Status, Tunnel};
use crate::facts::{Needs, NumberWish, SecretSelection};
use crate::handle::Handle;
use crate::phone::{CallAction, CallHandling};

/// A request for change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Bring it into being, with all that belongs to it.
    Create(Box<Create>),
    /// Change some of its fields; the others stay.
    Update(Box<Update>),
    /// Let one viewer see it.
    GrantVisibility {
        /// Id of the row, if one is made.
        access_id: Uuid,
        /// Who.
        viewer: Uuid,
    },
    /// Let every active identity see it; nothing to do if they already may (D4).
    OpenVisibility {
        /// Id of the row, if one is made.
        access_id: Uuid,
    },
    /// Take visible from one viewer; a wildcard becomes rows for all others (D3).
    RevokeVisibility {
        /// Whose.
        viewer: Uuid,
    },
    /// Give it a phone number.
    ProvisionPhone(PhoneOrder),
    /// Change how its number treats calls, and the channel's filter mode.
    ChangePhone(PhoneChange),
    /// Give its number back for ever.
    ReleasePhone {
        /// The number that is meant; whichever it has if absent.
        phone_number_id: Option<Uuid>,
    },
    /// Replace the metadata of its tunnel: JSON text of an object.
    ReplaceTunnelMetadata {
        /// The new text.
        metadata: String,
    },
    /// Let it use a vault secret.
    GrantVaultAccess {
        /// Which.
        vault_secret_id: Uuid,
    },
    /// Stop it from using a vault secret.
    RevokeVaultAccess {
        /// Which.
        vault_secret_id: Uuid,
    },
    /// End it, with all that belongs to it.
    Delete,
}

/// How an identity is to be born.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Its id.
    pub id: Uuid,
    /// Its handle.
    pub agent_handle: Handle,
    /// Its display name; the handle if absent.
    pub display_name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Whether it is reachable over iMessage.
    pub imessage_enabled: bool,
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// Its tunnel.
    pub tunnel: Tunnel,
    /// A phone number to be born with.
    pub phone: Option<PhoneOrder>,
    /// Vault secrets to be born with.
    pub secrets: Option<SecretSelection>,
}

/// A phone number that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneOrder {
    /// Id of the number, once there is one.
    pub id: Uuid,
    /// Which kind.
    pub wish: NumberWish,
    /// What will happen to incoming calls.
    pub calls: CallHandling,
    /// The channel's filter mode.
    pub filter_mode: FilterMode,
}

/// What to change of a phone number: absent stays, `Some(None)` clears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneChange {
    /// The number that is meant.
    pub phone_number_id: Uuid,
    /// What happens to incoming calls.
    pub incoming_call_action: Option<CallAction>,
    /// Where an accepted call goes.
    pub client_websocket_url: Option<Option<String>>,
    /// Who is asked about a call.
    pub incoming_call_webhook_url: Option<Option<String>>,
    /// The channel's filter mode.
    pub filter_mode: Option<FilterMode>,
}

impl PhoneChange {
    /// How calls are treated once this is done.
    pub fn calls_after(&self, present: &CallHandling) -> CallHandling {
        let Self { incoming_call_action, client_websocket_url, incoming_call_webhook_url, .. } = self;
        CallHandling {
            incoming_call_action: incoming_call_action.unwrap_or(present.incoming_call_action),
            client_websocket_url: client_websocket_url
                .as_ref()
                .unwrap_or(&present.client_websocket_url)
                .clone(),
            incoming_call_webhook_url: incoming_call_webhook_url
                .as_ref()
                .unwrap_or(&present.incoming_call_webhook_url)
                .clone(),
        }
    }
}

/// Fields to change: absent stays, `Some(None)` clears.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// A new handle.
    pub agent_handle: Option<Handle>,
    /// A new display name.
    pub display_name: Option<Option<String>>,
    /// A new description.
    pub description: Option<Option<String>>,
    /// iMessage on or off.
    pub imessage_enabled: Option<bool>,
    /// Filter mode of iMessage.
    pub imessage_filter_mode: Option<FilterMode>,
    /// Filter mode of mail.
    pub mail_filter_mode: Option<FilterMode>,
    /// Filter mode of the phone.
    pub phone_filter_mode: Option<FilterMode>,
    /// Active or paused.
    pub status: Option<Status>,
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
            | Self::ReleasePhone { .. }
            | Self::ReplaceTunnelMetadata { .. }
            | Self::RevokeVaultAccess { .. } => Needs::default(),
            Self::Delete => Needs { own_names: true, ..Needs::default() },
        }
    }
}
