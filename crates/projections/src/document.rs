//! The identity document: the body that the API answers with, without its access rows, and its fold. Contract,
//! sections 1.1 to 1.4.

mod belongings;
mod filters;
mod text;

use identity_domain as domain;
use identity_domain::identity::{ChannelModes, Event, FilterMode, Status};
use identity_log::Recorded;
use identity_log::recorded::timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use belongings::{
    Country, FilterModeChangeNotice, Mailbox, NumberStatus, NumberType, PhoneNumber, RuleAction, SmsStatus,
    Tunnel, TunnelStatus,
};
pub(crate) use text::DocumentText;

// The order of the fields is that of the contract's example.
/// An identity without its access rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityDocument {
    /// Its id.
    pub id: Uuid,
    /// Its organization.
    pub organization_id: String,
    /// Its handle, without `@`.
    #[schema(example = "harbor-desk")]
    pub agent_handle: String,
    /// Its display name; null after an explicit clear.
    #[schema(required)]
    pub display_name: Option<String>,
    /// Its description.
    #[schema(required)]
    pub description: Option<String>,
    /// Its mail address. It stays when the identity is renamed.
    #[schema(example = "harbor-desk@agents.localhost")]
    pub email_address: String,
    /// Whether it can be reached over iMessage.
    pub imessage_enabled: bool,
    /// Whether a dedicated iMessage number shares the contact.
    #[serde(default = "yes")]
    pub contact_sharing_enabled: bool,
    /// Filter mode of iMessage.
    pub imessage_filter_mode: FilterMode,
    // D15.
    /// Filter mode of mail, the same as the mailbox's.
    pub mail_filter_mode: FilterMode,
    /// Filter mode of mail that comes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mail_inbound_filter_mode: Option<FilterMode>,
    /// Filter mode of mail that goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mail_outbound_filter_mode: Option<FilterMode>,
    // D15.
    /// Filter mode of the phone, the same as the number's.
    pub phone_filter_mode: FilterMode,
    /// Filter mode of calls and messages that come in, over iMessage, too. Absent where both directions have one mode and
    /// iMessage has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub phone_inbound_filter_mode: Option<FilterMode>,
    /// Filter mode of calls and messages that go out, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub phone_outbound_filter_mode: Option<FilterMode>,
    /// Whether it has a signing key.
    pub signing_key_configured: bool,
    /// When the signing key was made.
    #[schema(required, format = DateTime)]
    pub signing_key_created_at: Option<String>,
    // D1.
    /// Active or paused.
    pub status: Status,
    /// When it was created. Lists are in this order, newest first.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When a field of its own last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Its mailbox.
    pub mailbox: Mailbox,
    /// Its phone number.
    #[schema(required)]
    pub phone_number: Option<PhoneNumber>,
    // D24.
    /// Its dedicated iMessage number. None is ever attached yet.
    #[schema(required, value_type = Option<Object>)]
    pub imessage_number: Option<()>,
    /// Its tunnel.
    pub tunnel: Tunnel,
}

impl IdentityDocument {
    /// The document after an event. Live writes, rebuilds and reads of the past use this function. The document is
    /// about 1 kB; it is boxed so that an event does not move it.
    pub fn fold(document: Option<Box<Self>>, recorded: &Recorded) -> Option<Box<Self>> {
        let domain::Event::Identity(event) = &recorded.event else {
            return document;
        };
        match (document, event) {
            (None, Event::Created { .. }) => Self::born(recorded, event).map(Box::new),
            (_, Event::Deleted { .. }) | (None, _) => None,
            (Some(mut document), event) => {
                document.evolve(event, &timestamp(recorded.recorded_at));
                Some(document)
            }
        }
    }

    fn born(recorded: &Recorded, event: &Event) -> Option<Self> {
        let Event::Created { id, agent_handle, display_name, description, imessage_enabled, mailbox, tunnel } =
            event
        else {
            return None;
        };
        let now = timestamp(recorded.recorded_at);
        Some(Self {
            id: *id,
            organization_id: recorded.organization_id.clone(),
            agent_handle: agent_handle.to_string(),
            display_name: Some(display_name.clone()),
            description: description.clone(),
            email_address: mailbox.email_address.clone(),
            imessage_enabled: *imessage_enabled,
            contact_sharing_enabled: true,
            imessage_filter_mode: FilterMode::default(),
            mail_filter_mode: FilterMode::default(),
            mail_inbound_filter_mode: Some(FilterMode::default()),
            mail_outbound_filter_mode: Some(FilterMode::default()),
            phone_filter_mode: FilterMode::default(),
            phone_inbound_filter_mode: Some(FilterMode::default()),
            phone_outbound_filter_mode: Some(FilterMode::default()),
            signing_key_configured: false,
            signing_key_created_at: None,
            status: Status::default(),
            created_at: now.clone(),
            updated_at: now.clone(),
            mailbox: Mailbox::born(mailbox, *id, &now),
            phone_number: None,
            imessage_number: None,
            tunnel: Tunnel::born(tunnel, agent_handle, *id, &now),
        })
    }

    fn evolve(&mut self, event: &Event, now: &str) {
        match event {
            Event::Renamed { agent_handle, .. } => {
                self.agent_handle = agent_handle.to_string();
                self.tunnel.rename(agent_handle, now);
            }
            Event::DisplayNameChanged { display_name } => self.display_name.clone_from(display_name),
            Event::DescriptionChanged { description } => self.description.clone_from(description),
            Event::ImessageChanged { imessage_enabled } => self.imessage_enabled = *imessage_enabled,
            Event::FilterModeChanged { channel, modes } => self.set_filter_modes(*channel, *modes, now),
            Event::ContactSharingChanged { contact_sharing_enabled } => {
                self.contact_sharing_enabled = *contact_sharing_enabled;
            }
            Event::FilterModesSplit { channel, inbound_filter_mode, outbound_filter_mode } => {
                self.split_filter_modes(*channel, *inbound_filter_mode, *outbound_filter_mode, now);
            }
            Event::MailboxSignatureChanged { signature } => self.mailbox.sign(signature, now),
            Event::StatusChanged { status } => self.status = *status,
            Event::PhoneProvisioned { phone, filter_mode } => {
                self.phone_number = Some(PhoneNumber::provisioned(phone, *filter_mode, self.id, now));
                self.show_phone(ChannelModes::both(*filter_mode), now);
            }
            Event::PhoneChanged { calls, .. } => {
                if let Some(phone) = &mut self.phone_number {
                    phone.calls = calls.clone();
                    now.clone_into(&mut phone.updated_at);
                }
            }
            Event::PhoneReleased { .. } => {
                self.phone_number = None;
                self.show_phone(ChannelModes::default(), now);
            }
            Event::TunnelMetadataChanged { .. } => {
                now.clone_into(&mut self.tunnel.updated_at);
                return;
            }
            Event::SigningKeySet { .. } => {
                self.signing_key_configured = true;
                self.signing_key_created_at = Some(now.to_owned());
            }
            // Visibility and vault access are not fields of the document.
            Event::VisibilityGranted { .. }
            | Event::VisibilityOpened { .. }
            | Event::VisibilityRevoked { .. }
            | Event::VisibilityNarrowed { .. }
            | Event::VaultAccessGranted { .. }
            | Event::VaultAccessRevoked { .. }
            | Event::Created { .. }
            | Event::Deleted { .. } => return,
        }
        now.clone_into(&mut self.updated_at);
    }
}

/// What a document of an older version means.
const fn yes() -> bool {
    true
}
