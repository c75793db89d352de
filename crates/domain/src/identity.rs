//! The `Identity` aggregate: its state, and which commands it accepts.

mod command;
mod decide;
mod error;
mod event;
mod filters;
mod values;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use command::{Command, Create, PhoneChange, PhoneOrder, SignatureChange, Update};
pub use error::IdentityError;
pub use event::Event;
pub use filters::{ChannelModes, Directions, Filters};
pub use values::{Channel, FilterMode, Grant, Mailbox, Phone, Signature, Status, TlsMode, Tunnel};

use crate::decider::Decider;
use crate::facts::{Facts, Needs};
use crate::handle::Handle;
use crate::phone::CallHandling;

/// The state of an identity, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// No event yet.
    #[default]
    NotYet,
    /// It exists.
    Live(Box<Live>),
    /// It was deleted. It refuses every command.
    Deleted,
}

/// The state of a live identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Its id, by which it refuses to be its own viewer.
    pub id: Uuid,
    /// Its present handle.
    pub handle: Handle,
    /// Its mail address, which stays when the handle changes (D10).
    pub email_address: String,
    /// Its display name; `None` after it was cleared.
    pub display_name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Active or paused.
    pub status: Status,
    /// Whether it can be reached over iMessage.
    pub imessage_enabled: bool,
    /// Whether a dedicated iMessage number shares its contact.
    pub contact_sharing_enabled: bool,
    /// Filter modes of each channel.
    pub filters: Filters,
    /// The signature of its mailbox.
    pub signature: Signature,
    /// Who may see it.
    pub visibility: Visibility,
    /// Its phone number.
    pub phone: Option<LivePhone>,
    /// JSON text of the tunnel's metadata.
    pub tunnel_metadata: String,
    /// The vault secrets that it may use.
    pub secrets: BTreeSet<Uuid>,
    /// SHA-256 of its signing key, if it has one.
    pub signing_key_sha256: Option<String>,
}

/// Who may see an identity. Contract, section 4.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Only the identity itself.
    #[default]
    None,
    /// Every active identity of the organization.
    Wildcard,
    /// These viewers. There is at least one.
    Explicit(BTreeSet<Uuid>),
}

/// The state of a phone number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePhone {
    /// Its id.
    pub id: Uuid,
    /// The number in E.164.
    pub number: String,
    /// What happens to incoming calls.
    pub calls: CallHandling,
}

impl Decider for Identity {
    fn needs(command: &Command) -> Needs {
        command.needs()
    }

    fn begins(command: &Command) -> bool {
        matches!(command, Command::Create(_))
    }

    fn ends_with(event: &Event) -> bool {
        matches!(event, Event::Deleted { .. })
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<Event>, IdentityError> {
        match (self, command) {
            (Self::NotYet, Command::Create(create)) => decide::create(create, facts),
            (Self::Live(_) | Self::Deleted, Command::Create(_)) => Err(IdentityError::AlreadyCreated),
            (Self::Live(live), command) => decide::change(live, command, facts),
            (Self::NotYet | Self::Deleted, _) => Err(IdentityError::NotFound),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match (self, event) {
            (state @ (Self::NotYet | Self::Deleted), Event::Created { .. }) => *state = Self::born(event),
            (state @ Self::Live(_), Event::Deleted { .. }) => *state = Self::Deleted,
            (Self::Live(live), event) => live.evolve(event),
            (Self::NotYet | Self::Deleted, _) => {}
        }
    }
}

impl Identity {
    fn born(event: &Event) -> Self {
        let Event::Created { id, agent_handle, display_name, description, imessage_enabled, mailbox, .. } =
            event
        else {
            return Self::NotYet;
        };
        Self::Live(Box::new(Live {
            id: *id,
            handle: agent_handle.clone(),
            email_address: mailbox.email_address.clone(),
            display_name: Some(display_name.clone()),
            description: description.clone(),
            status: Status::Active,
            imessage_enabled: *imessage_enabled,
            contact_sharing_enabled: true,
            filters: Filters::default(),
            signature: Signature::default(),
            visibility: Visibility::None,
            phone: None,
            tunnel_metadata: "{}".to_owned(),
            secrets: BTreeSet::new(),
            signing_key_sha256: None,
        }))
    }
}

impl Live {
    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Renamed { agent_handle, .. } => self.handle = agent_handle.clone(),
            Event::DisplayNameChanged { display_name } => self.display_name.clone_from(display_name),
            Event::DescriptionChanged { description } => self.description.clone_from(description),
            Event::ImessageChanged { imessage_enabled } => self.imessage_enabled = *imessage_enabled,
            Event::ContactSharingChanged { contact_sharing_enabled } => {
                self.contact_sharing_enabled = *contact_sharing_enabled;
            }
            Event::FilterModeChanged { channel, modes } => self.filters.set(*channel, *modes),
            Event::FilterModesSplit { channel, inbound_filter_mode, outbound_filter_mode } => {
                self.filters.split(*channel, *inbound_filter_mode, *outbound_filter_mode);
            }
            Event::MailboxSignatureChanged { signature } => self.signature.clone_from(signature),
            Event::StatusChanged { status } => self.status = *status,
            Event::VisibilityGranted { grant } => self.visibility.add(grant.viewer_identity_id),
            Event::VisibilityOpened { .. } => self.visibility = Visibility::Wildcard,
            Event::VisibilityRevoked { viewer_identity_id } => self.visibility.remove(*viewer_identity_id),
            Event::VisibilityNarrowed { grants, .. } => {
                self.visibility =
                    Visibility::of(grants.iter().map(|grant| grant.viewer_identity_id).collect());
            }
            Event::PhoneProvisioned { phone, filter_mode } => {
                let Phone { id, number, calls, .. } = phone.clone();
                self.phone = Some(LivePhone { id, number, calls });
                self.filters.set(Channel::Phone, ChannelModes::both(*filter_mode));
            }
            Event::PhoneChanged { calls, .. } => {
                if let Some(phone) = &mut self.phone {
                    phone.calls = calls.clone();
                }
            }
            Event::PhoneReleased { .. } => {
                self.phone = None;
                self.filters.set(Channel::Phone, ChannelModes::default());
            }
            Event::TunnelMetadataChanged { metadata } => self.tunnel_metadata.clone_from(metadata),
            Event::VaultAccessGranted { vault_secret_id, .. } => {
                self.secrets.insert(*vault_secret_id);
            }
            Event::VaultAccessRevoked { vault_secret_id } => {
                self.secrets.remove(vault_secret_id);
            }
            Event::SigningKeySet { secret_sha256 } => self.signing_key_sha256 = Some(secret_sha256.clone()),
            Event::Created { .. } | Event::Deleted { .. } => {}
        }
    }
}

impl Visibility {
    fn of(viewers: BTreeSet<Uuid>) -> Self {
        if viewers.is_empty() { Self::None } else { Self::Explicit(viewers) }
    }

    fn add(&mut self, viewer: Uuid) {
        match self {
            Self::Explicit(viewers) => {
                viewers.insert(viewer);
            }
            Self::None | Self::Wildcard => *self = Self::Explicit(BTreeSet::from([viewer])),
        }
    }

    fn remove(&mut self, viewer: Uuid) {
        if let Self::Explicit(viewers) = self {
            viewers.remove(&viewer);
            *self = Self::of(std::mem::take(viewers));
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
