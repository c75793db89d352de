//! What belongs to an identity, as its document shows it: the mailbox, the phone number, the tunnel.

use identity_domain::identity::{FilterMode, Phone, Signature, TlsMode};
use identity_domain::phone::{CallHandling, UsState};
use identity_domain::{self as domain, Handle};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

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
    /// Filter mode; the last one of both directions, if they have different ones.
    pub filter_mode: FilterMode,
    /// Filter mode of mail that comes in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub inbound_filter_mode: Option<FilterMode>,
    /// Filter mode of mail that goes out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub outbound_filter_mode: Option<FilterMode>,
    /// The signature in HTML, as it was written.
    #[serde(default)]
    #[schema(required)]
    pub signature_html: Option<String>,
    /// The signature as plain text.
    #[serde(default)]
    #[schema(required)]
    pub signature_text: Option<String>,
    /// Whether mail that goes out is to have the signature.
    #[serde(default)]
    #[schema(required)]
    pub signature_enabled: bool,
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
    /// Filter mode; the last one of both directions, if they have different ones.
    pub filter_mode: FilterMode,
    /// Filter mode of calls and messages that come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub inbound_filter_mode: Option<FilterMode>,
    /// Filter mode of calls and messages that go out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub outbound_filter_mode: Option<FilterMode>,
    /// The country it belongs to.
    #[serde(default)]
    #[schema(required)]
    pub country: Country,
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

impl PhoneNumber {
    /// Takes away where calls go: the addresses may contain secrets of whoever answers there.
    pub(crate) fn hide_targets(&mut self) {
        let incoming_call_action = self.calls.incoming_call_action;
        self.calls = CallHandling { incoming_call_action, ..CallHandling::default() };
    }
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

/// The country of a phone number, by its code in ISO 3166-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub enum Country {
    /// The United States.
    #[default]
    #[serde(rename = "US")]
    UnitedStates,
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

impl Mailbox {
    pub(super) fn born(mailbox: &domain::identity::Mailbox, identity: Uuid, now: &str) -> Self {
        let domain = mailbox.email_address.split_once('@').map_or("", |(_, domain)| domain);
        Self {
            id: mailbox.id,
            email_address: mailbox.email_address.clone(),
            sending_domain: domain.to_owned(),
            filter_mode: FilterMode::default(),
            inbound_filter_mode: Some(FilterMode::default()),
            outbound_filter_mode: Some(FilterMode::default()),
            signature_html: None,
            signature_text: None,
            signature_enabled: false,
            agent_identity_id: identity,
            filter_mode_change_notice: None,
            created_at: now.to_owned(),
            updated_at: now.to_owned(),
        }
    }

    pub(super) fn sign(&mut self, signature: &Signature, now: &str) {
        self.signature_html.clone_from(&signature.signature_html);
        self.signature_text.clone_from(&signature.signature_text);
        self.signature_enabled = signature.signature_enabled;
        now.clone_into(&mut self.updated_at);
    }
}

impl PhoneNumber {
    pub(super) fn provisioned(phone: &Phone, filter_mode: FilterMode, identity: Uuid, now: &str) -> Self {
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
            inbound_filter_mode: Some(filter_mode),
            outbound_filter_mode: Some(filter_mode),
            country: Country::default(),
            state: Some(phone.state),
            agent_identity_id: identity,
            filter_mode_change_notice: None,
            created_at: now.to_owned(),
            updated_at: now.to_owned(),
        }
    }
}

impl Tunnel {
    pub(super) fn born(
        tunnel: &domain::identity::Tunnel,
        handle: &Handle,
        identity: Uuid,
        now: &str,
    ) -> Self {
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

    pub(super) fn rename(&mut self, handle: &Handle, now: &str) {
        self.tunnel_name = handle.to_string();
        self.public_host = format!("{handle}.{}", self.zone);
        now.clone_into(&mut self.updated_at);
    }
}
