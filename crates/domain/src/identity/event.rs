//! The events of an identity, in the shape in which the log stores them for ever.
//!
//! The shape of an event never changes. A change needs a new version beside the old one, with an upcaster; the old
//! example in `events/` stays. The one exception is a field that may be absent: events without it read as the default.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::filters::ChannelModes;
use super::values::{Channel, FilterMode, Grant, Mailbox, Phone, Signature, Status, Tunnel};
use crate::handle::Handle;
use crate::phone::CallHandling;
use crate::upcasting::present_version;

/// An event of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was created, with its mailbox and its tunnel. One event, so that no identity exists without them.
    #[serde(rename = "identity.created")]
    Created {
        /// Its id, the same as the aggregate's.
        id: Uuid,
        /// Its handle.
        agent_handle: Handle,
        /// The handle, unless the client gave another name.
        display_name: String,
        /// Free text.
        description: Option<String>,
        /// Whether it can be reached over iMessage.
        imessage_enabled: bool,
        /// Its mailbox.
        mailbox: Mailbox,
        /// Its tunnel, whose name is the handle.
        tunnel: Tunnel,
    },
    /// It got another handle. Its tunnel gets the same name; its mail address stays (D10).
    #[serde(rename = "identity.renamed")]
    Renamed {
        /// The old handle.
        previous_agent_handle: Handle,
        /// The new handle.
        agent_handle: Handle,
    },
    /// Its display name changed.
    #[serde(rename = "identity.display_name_changed")]
    DisplayNameChanged {
        /// The new value; `None` if it was cleared.
        display_name: Option<String>,
    },
    /// Its description changed.
    #[serde(rename = "identity.description_changed")]
    DescriptionChanged {
        /// The new value; `None` if it was cleared.
        description: Option<String>,
    },
    /// iMessage was switched on or off.
    #[serde(rename = "identity.imessage_changed")]
    ImessageChanged {
        /// Whether it can be reached over iMessage.
        imessage_enabled: bool,
    },
    /// It shares its contact, or stops doing so.
    #[serde(rename = "identity.contact_sharing_changed")]
    ContactSharingChanged {
        /// Whether a dedicated iMessage number shares the contact.
        contact_sharing_enabled: bool,
    },
    /// The filter modes of a channel changed. Version 1 had only `filter_mode`, which was that of both directions.
    #[serde(rename = "identity.filter_mode_changed")]
    FilterModeChanged {
        /// The channel.
        channel: Channel,
        /// All modes, changed or not: `filter_mode`, `inbound_filter_mode` and `outbound_filter_mode`.
        #[serde(flatten)]
        modes: ChannelModes,
    },
    /// From then on a channel had one filter mode for what comes in and another one for what goes out. The mode that is shown
    /// to clients that know no directions stayed. This event is no longer written: version 2 of the previous one tells all modes.
    #[serde(rename = "identity.filter_modes_split")]
    FilterModesSplit {
        /// The channel.
        channel: Channel,
        /// The mode for what comes in.
        inbound_filter_mode: FilterMode,
        /// The mode for what goes out.
        outbound_filter_mode: FilterMode,
    },
    /// The signature of its mailbox changed.
    #[serde(rename = "identity.mailbox_signature_changed")]
    MailboxSignatureChanged {
        /// All fields, changed or not.
        signature: Signature,
    },
    /// It was paused or resumed.
    #[serde(rename = "identity.status_changed")]
    StatusChanged {
        /// The new status.
        status: Status,
    },
    /// One viewer may see the identity.
    #[serde(rename = "identity.visibility_granted")]
    VisibilityGranted {
        /// The access row.
        grant: Grant,
    },
    /// Every active identity of the organization may see the identity. Rows that name single viewers are removed.
    #[serde(rename = "identity.visibility_opened")]
    VisibilityOpened {
        /// Id of the wildcard row.
        access_id: Uuid,
    },
    /// One viewer may no longer see the identity.
    #[serde(rename = "identity.visibility_revoked")]
    VisibilityRevoked {
        /// The viewer.
        viewer_identity_id: Uuid,
    },
    /// The wildcard was replaced by one row for each other live identity except one viewer (D3).
    #[serde(rename = "identity.visibility_narrowed")]
    VisibilityNarrowed {
        /// The viewer that may no longer see the identity.
        viewer_identity_id: Uuid,
        /// The rows that replace the wildcard.
        grants: Vec<Grant>,
    },
    /// It got a phone number.
    #[serde(rename = "identity.phone_provisioned")]
    PhoneProvisioned {
        /// The number.
        phone: Phone,
        /// The filter mode of the phone from now on.
        filter_mode: FilterMode,
    },
    /// The phone number treats incoming calls differently.
    #[serde(rename = "identity.phone_changed")]
    PhoneChanged {
        /// The id of the number.
        phone_number_id: Uuid,
        /// How calls are treated: all fields, changed or not.
        calls: CallHandling,
    },
    /// The phone number was released.
    #[serde(rename = "identity.phone_released")]
    PhoneReleased {
        /// The id of the number.
        phone_number_id: Uuid,
        /// The number in E.164, so that it can be put back into the pool without reading earlier events.
        number: String,
    },
    /// The metadata of its tunnel was replaced.
    #[serde(rename = "identity.tunnel_metadata_changed")]
    TunnelMetadataChanged {
        /// JSON text of an object, as the client wrote it. A JSON value would lose the order of its members in the
        /// database, and digits of large numbers in canonical JSON.
        metadata: String,
    },
    /// It may use a vault secret.
    #[serde(rename = "identity.vault_access_granted")]
    VaultAccessGranted {
        /// Id of the rule.
        access_id: Uuid,
        /// The secret.
        vault_secret_id: Uuid,
    },
    /// It may no longer use a vault secret.
    #[serde(rename = "identity.vault_access_revoked")]
    VaultAccessRevoked {
        /// The secret.
        vault_secret_id: Uuid,
    },
    /// It got a signing key for webhooks, in place of the one that it had.
    #[serde(rename = "identity.signing_key_set")]
    SigningKeySet {
        /// SHA-256 of the key's text in lower-case hexadecimal. The key has 256 random bits, so it cannot be found from the
        /// digest.
        secret_sha256: String,
    },
    /// It was deleted, with its mailbox, tunnel, keys, access rows and access rules. Its webhook subscriptions end in the same
    /// transaction, each with an event of its own.
    #[serde(rename = "identity.deleted")]
    Deleted {
        /// The handle that it gives up.
        agent_handle: Handle,
        /// The mail address that it gives up. After a rename its local part differs from the handle (D10).
        email_address: String,
    },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        present_version(self.name()).to_owned()
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
            Self::ContactSharingChanged { .. } => "identity.contact_sharing_changed",
            Self::FilterModeChanged { .. } => "identity.filter_mode_changed",
            Self::FilterModesSplit { .. } => "identity.filter_modes_split",
            Self::MailboxSignatureChanged { .. } => "identity.mailbox_signature_changed",
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
            Self::SigningKeySet { .. } => "identity.signing_key_set",
            Self::Deleted { .. } => "identity.deleted",
        }
    }
}
