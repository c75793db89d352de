//! What can have happened to an identity, as it stands in the log for ever.
//!
//! A shape is never edited: a change is a new version beside the old one, with an upcaster, and the old example in
//! `events/` stays.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::handle::Handle;
use crate::phone::{CallHandling, UsState};

/// An event of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It came into being, with its mailbox and its tunnel: atomic by construction.
    #[serde(rename = "identity.created")]
    Created {
        /// Its id, the same as the aggregate's.
        id: Uuid,
        /// Its handle.
        agent_handle: Handle,
        /// The handle, unless another name was given.
        display_name: String,
        /// Free text.
        description: Option<String>,
        /// Whether it is reachable over iMessage.
        imessage_enabled: bool,
        /// Its one mailbox.
        mailbox: Mailbox,
        /// Its one tunnel, named as the identity is.
        tunnel: Tunnel,
    },
    /// It got another handle; its tunnel's name follows, its mail address does not (D10).
    #[serde(rename = "identity.renamed")]
    Renamed {
        /// The handle it gave up.
        previous_agent_handle: Handle,
        /// The handle it has now.
        agent_handle: Handle,
    },
    /// Its display name changed.
    #[serde(rename = "identity.display_name_changed")]
    DisplayNameChanged {
        /// The new one; `None` when cleared.
        display_name: Option<String>,
    },
    /// Its description changed.
    #[serde(rename = "identity.description_changed")]
    DescriptionChanged {
        /// The new one; `None` when cleared.
        description: Option<String>,
    },
    /// iMessage was switched on or off.
    #[serde(rename = "identity.imessage_changed")]
    ImessageChanged {
        /// Whether it is reachable over iMessage now.
        imessage_enabled: bool,
    },
    /// The filter mode of a channel changed.
    #[serde(rename = "identity.filter_mode_changed")]
    FilterModeChanged {
        /// Whose mode.
        channel: Channel,
        /// The new mode.
        filter_mode: FilterMode,
    },
    /// It was paused or resumed.
    #[serde(rename = "identity.status_changed")]
    StatusChanged {
        /// The new status.
        status: Status,
    },
    /// One viewer may see it.
    #[serde(rename = "identity.visibility_granted")]
    VisibilityGranted {
        /// The row that says so.
        grant: Grant,
    },
    /// Every active identity of the organization may see it; rows naming single viewers are gone.
    #[serde(rename = "identity.visibility_opened")]
    VisibilityOpened {
        /// Id of the wildcard row.
        access_id: Uuid,
    },
    /// One viewer may no longer see it.
    #[serde(rename = "identity.visibility_revoked")]
    VisibilityRevoked {
        /// Who.
        viewer_identity_id: Uuid,
    },
    /// The wildcard was turned into one row for each other live identity except one (D3).
    #[serde(rename = "identity.visibility_narrowed")]
    VisibilityNarrowed {
        /// Who may no longer see it.
        viewer_identity_id: Uuid,
        /// The rows in place of the wildcard.
        grants: Vec<Grant>,
    },
    /// It got a phone number.
    #[serde(rename = "identity.phone_provisioned")]
    PhoneProvisioned {
        /// The number.
        phone: Phone,
        /// The channel's filter mode from now on.
        filter_mode: FilterMode,
    },
    /// The number treats incoming calls in another way.
    #[serde(rename = "identity.phone_changed")]
    PhoneChanged {
        /// Whose.
        phone_number_id: Uuid,
        /// All of it, changed or not.
        calls: CallHandling,
    },
    /// The number went back to the carrier and is never assigned again.
    #[serde(rename = "identity.phone_released")]
    PhoneReleased {
        /// Which.
        phone_number_id: Uuid,
        /// E.164, so that the carrier can be told without looking back.
        number: String,
    },
    /// The metadata of its tunnel was replaced.
    #[serde(rename = "identity.tunnel_metadata_changed")]
    TunnelMetadataChanged {
        /// JSON text of an object, as the client wrote it: a JSON value here would lose the order of members and the
        /// digits of large numbers on its way through the database and canonical JSON.
        metadata: String,
    },
    /// It may use a vault secret.
    #[serde(rename = "identity.vault_access_granted")]
    VaultAccessGranted {
        /// Id of the rule.
        access_id: Uuid,
        /// Which secret.
        vault_secret_id: Uuid,
    },
    /// It may no longer use a vault secret.
    #[serde(rename = "identity.vault_access_revoked")]
    VaultAccessRevoked {
        /// Which secret.
        vault_secret_id: Uuid,
    },
    /// It is gone, and with it mailbox, tunnel, keys, grants and rules.
    #[serde(rename = "identity.deleted")]
    Deleted {
        /// The handle it gives up.
        agent_handle: Handle,
        /// The address it gives up; after a rename its local part is not the handle (D10).
        email_address: String,
    },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Event {
    /// The wire name, the same as the `type` of the payload.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "identity.created",
            Self::Renamed { .. } => "identity.renamed",
            Self::DisplayNameChanged { .. } => "identity.display_name_changed",
            Self::DescriptionChanged { .. } => "identity.description_changed",
            Self::ImessageChanged { .. } => "identity.imessage_changed",
            Self::FilterModeChanged { .. } => "identity.filter_mode_changed",
            Self::StatusChanged { .. } => "identity.status_changed",
            Self::VisibilityGranted { .. } => "identity.visibility_granted",
            Self::VisibilityOpened { .. } => "identity.visibility_opened",
            Self::VisibilityRevoked { .. } => "identity.visibility_revoked",
            Self::VisibilityNarrowed { .. } => "identity.visibility_narrowed",
            Self::PhoneProvisioned { .. } => "identity.phone_provisioned",
            Self::PhoneChanged { .. } => "identity.phone_changed",
            Self::PhoneReleased { .. } => "identity.phone_released",
            Self::TunnelMetadataChanged { .. } => "identity.tunnel_metadata_changed",
            Self::VaultAccessGranted { .. } => "identity.vault_access_granted",
            Self::VaultAccessRevoked { .. } => "identity.vault_access_revoked",
            Self::Deleted { .. } => "identity.deleted",
        }
    }
}

/// A mailbox at birth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// Its id.
    pub id: Uuid,
    /// The full address; its local part is the handle at birth.
    pub email_address: String,
}

/// A tunnel at birth. Its name is the handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Its id.
    pub id: Uuid,
    /// Who terminates TLS; never changes.
    pub tls_mode: TlsMode,
    /// The zone its public host is in.
    pub zone: String,
}

/// A row that lets one viewer see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Id of the row.
    pub access_id: Uuid,
    /// Who may see.
    pub viewer_identity_id: Uuid,
}

/// A phone number when it is provisioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// Its id.
    pub id: Uuid,
    /// E.164.
    pub number: String,
    /// The state that was asked for, or the one the number belongs to.
    pub state: UsState,
    /// What happens to incoming calls.
    pub calls: CallHandling,
}

/// A channel that has a filter mode of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// iMessage.
    Imessage,
    /// Mail.
    Mail,
    /// Phone.
    Phone,
}

/// Whether contact rules name who may or who may not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterMode {
    /// Only who is listed.
    Whitelist,
    /// All but who is listed.
    #[default]
    Blacklist,
}

/// Whether an identity takes part. Decision D1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IdentityStatus)]
pub enum Status {
    /// It does.
    #[default]
    Active,
    /// It keeps its data, but neither sees others nor is seen by them.
    Paused,
}

/// Who terminates a tunnel's TLS. Contract, section 1.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// The platform's edge.
    #[default]
    Edge,
    /// The agent itself, with a certificate of its own.
    Passthrough,
}
