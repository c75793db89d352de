//! The identity document: the body that the API answers with, without its access rows, and its fold. Contract,
//! sections 1.1 to 1.4.

use identity_domain::identity::{Channel, Event, FilterMode, Phone, Status, TlsMode};
use identity_domain::phone::{CallHandling, UsState};
use identity_domain::{self as domain, Handle};
use identity_log::Recorded;
use identity_log::recorded::timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

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
    /// Filter mode of iMessage.
    pub imessage_filter_mode: FilterMode,
    // D15.
    /// Filter mode of mail, the same as the mailbox's.
    pub mail_filter_mode: FilterMode,
    // D15.
    /// Filter mode of the phone, the same as the number's.
    pub phone_filter_mode: FilterMode,
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

// Contract, section 1.2.
/// A mailbox as it is embedded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mailbox {
    /// Its id.
    pub id: Uuid,
    /// The full address.
    #[schema(example = "harbor-desk@agents.localhost")]
    pub email_address: String,
    /// The bare domain.
    #[schema(example = "agents.localhost")]
    pub sending_domain: String,
    /// Filter mode.
    pub filter_mode: FilterMode,
    /// The identity that owns it.
    pub agent_identity_id: Uuid,
    // Never stored.
    /// Only in the answer to the change itself.
    #[schema(required)]
    pub filter_mode_change_notice: Option<FilterModeChangeNotice>,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

// Contract, section 1.3.
/// A phone number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PhoneNumber {
    /// Its id.
    pub id: Uuid,
    /// E.164.
    #[schema(example = "+12125550100")]
    pub number: String,
    /// Always `local`.
    pub r#type: NumberType,
    /// Always `active`: a released number belongs to nobody.
    pub status: NumberStatus,
    /// Whether text messages work. Numbers of the pool are `ready` at once.
    pub sms_status: SmsStatus,
    /// Why text messages do not work.
    #[schema(required)]
    pub sms_error_code: Option<String>,
    /// The same in words.
    #[schema(required)]
    pub sms_error_detail: Option<String>,
    /// Since when they work.
    #[schema(required, format = DateTime)]
    pub sms_ready_at: Option<String>,
    /// What happens to incoming calls.
    #[serde(flatten)]
    pub calls: CallHandling,
    /// Filter mode.
    pub filter_mode: FilterMode,
    /// The US state it belongs to.
    #[schema(required, value_type = Option<String>, example = "NY")]
    pub state: Option<UsState>,
    /// The identity that owns it.
    pub agent_identity_id: Uuid,
    // Never stored.
    /// Only in the answer to the change itself.
    #[schema(required)]
    pub filter_mode_change_notice: Option<FilterModeChangeNotice>,
    /// When it was provisioned.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

// Contract, section 1.3.
/// What a client is told when a filter mode has changed. This service has no contact rules, so no rule ever becomes
/// redundant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FilterModeChangeNotice {
    /// The present mode.
    pub new_filter_mode: FilterMode,
    /// The action of the rules that the change makes redundant.
    pub redundant_rule_action: RuleAction,
    /// The number of those rules.
    pub redundant_rule_count: u32,
}

/// What a contact rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// Lets messages through.
    Allow,
    /// Rejects messages.
    Block,
}

impl FilterModeChangeNotice {
    /// The notice of a change to this mode.
    pub const fn flipped_to(new_filter_mode: FilterMode) -> Self {
        let redundant_rule_action = match new_filter_mode {
            FilterMode::Whitelist => RuleAction::Block,
            FilterMode::Blacklist => RuleAction::Allow,
        };
        Self { new_filter_mode, redundant_rule_action, redundant_rule_count: 0 }
    }
}

/// The kind of a phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberType {
    /// A number with an area code.
    Local,
}

/// Whether a phone number works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberStatus {
    /// It works.
    Active,
}

/// Whether text messages work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmsStatus {
    /// They work.
    Ready,
}

// Contract, section 1.4.
/// A tunnel's summary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TunnelSummary)]
pub struct Tunnel {
    /// Its id.
    pub id: Uuid,
    /// The handle.
    #[schema(example = "harbor-desk")]
    pub tunnel_name: String,
    /// The identity that owns it.
    pub agent_identity_id: Uuid,
    /// Who terminates TLS.
    pub tls_mode: TlsMode,
    /// Whether it can be used.
    pub status: TunnelStatus,
    /// The handle in the zone.
    #[schema(example = "harbor-desk.tunnels.localhost")]
    pub public_host: String,
    /// The zone.
    #[schema(example = "tunnels.localhost")]
    pub zone: String,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Whether a tunnel can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TunnelStatus {
    /// It waits for the certificate of the agent.
    AwaitingCert,
    /// It can be used.
    Active,
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
            imessage_filter_mode: FilterMode::default(),
            mail_filter_mode: FilterMode::default(),
            phone_filter_mode: FilterMode::default(),
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
            Event::FilterModeChanged { channel, filter_mode } => {
                self.set_filter_mode(*channel, *filter_mode, now);
            }
            Event::StatusChanged { status } => self.status = *status,
            Event::PhoneProvisioned { phone, filter_mode } => {
                self.phone_number = Some(PhoneNumber::provisioned(phone, *filter_mode, self.id, now));
                self.phone_filter_mode = *filter_mode;
            }
            Event::PhoneChanged { calls, .. } => {
                if let Some(phone) = &mut self.phone_number {
                    phone.calls = calls.clone();
                    now.clone_into(&mut phone.updated_at);
                }
            }
            Event::PhoneReleased { .. } => {
                self.phone_number = None;
                self.phone_filter_mode = FilterMode::default();
            }
            Event::TunnelMetadataChanged { .. } => {
                now.clone_into(&mut self.tunnel.updated_at);
                return;
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

    /// The filter mode of mail is shown by the identity and by the mailbox, that of the phone by the identity and by
    /// the number (D15).
    fn set_filter_mode(&mut self, channel: Channel, mode: FilterMode, now: &str) {
        match channel {
            Channel::Imessage => self.imessage_filter_mode = mode,
            Channel::Mail => {
                self.mail_filter_mode = mode;
                self.mailbox.filter_mode = mode;
                now.clone_into(&mut self.mailbox.updated_at);
            }
            Channel::Phone => {
                self.phone_filter_mode = mode;
                if let Some(phone) = &mut self.phone_number {
                    phone.filter_mode = mode;
                    now.clone_into(&mut phone.updated_at);
                }
            }
        }
    }
}

impl Mailbox {
    fn born(mailbox: &domain::identity::Mailbox, identity: Uuid, now: &str) -> Self {
        let domain = mailbox.email_address.split_once('@').map_or("", |(_, domain)| domain);
        Self {
            id: mailbox.id,
            email_address: mailbox.email_address.clone(),
            sending_domain: domain.to_owned(),
            filter_mode: FilterMode::default(),
            agent_identity_id: identity,
            filter_mode_change_notice: None,
            created_at: now.to_owned(),
            updated_at: now.to_owned(),
        }
    }
}

impl PhoneNumber {
    fn provisioned(phone: &Phone, filter_mode: FilterMode, identity: Uuid, now: &str) -> Self {
        Self {
            id: phone.id,
            number: phone.number.clone(),
            r#type: NumberType::Local,
            status: NumberStatus::Active,
            sms_status: SmsStatus::Ready,
            sms_error_code: None,
            sms_error_detail: None,
            sms_ready_at: Some(now.to_owned()),
            calls: phone.calls.clone(),
            filter_mode,
            state: Some(phone.state),
            agent_identity_id: identity,
            filter_mode_change_notice: None,
            created_at: now.to_owned(),
            updated_at: now.to_owned(),
        }
    }
}

impl Tunnel {
    fn born(tunnel: &domain::identity::Tunnel, handle: &Handle, identity: Uuid, now: &str) -> Self {
        Self {
            id: tunnel.id,
            tunnel_name: handle.to_string(),
            agent_identity_id: identity,
            tls_mode: tunnel.tls_mode,
            status: match tunnel.tls_mode {
                TlsMode::Edge => TunnelStatus::Active,
                TlsMode::Passthrough => TunnelStatus::AwaitingCert,
            },
            public_host: format!("{handle}.{}", tunnel.zone),
            zone: tunnel.zone.clone(),
            created_at: now.to_owned(),
            updated_at: now.to_owned(),
        }
    }

    fn rename(&mut self, handle: &Handle, now: &str) {
        self.tunnel_name = handle.to_string();
        self.public_host = format!("{handle}.{}", self.zone);
        now.clone_into(&mut self.updated_at);
    }
}
