//! Values of phone numbers: the US state of a number, and what happens to an incoming call.

mod forwarding;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use forwarding::{
    ForwardingChange, ForwardingTargetType, LONGEST_SIP_URI, NumberError, SipError, check_number,
    check_sip_uri,
};

/// A two-letter US state code, upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsState([u8; 2]);

/// The text is not two letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a two-letter US state code")]
pub struct StateError;

impl UsState {
    /// Accepts two ASCII letters in upper or lower case. Contract, section 6.2.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        let letters: [u8; 2] = text.as_bytes().try_into().map_err(|_| StateError)?;
        if letters.iter().all(u8::is_ascii_alphabetic) {
            Ok(Self(letters.map(|letter| letter.to_ascii_uppercase())))
        } else {
            Err(StateError)
        }
    }
}

impl fmt::Display for UsState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0.map(char::from);
        write!(formatter, "{first}{second}")
    }
}

impl TryFrom<String> for UsState {
    type Error = StateError;

    fn try_from(text: String) -> Result<Self, StateError> {
        Self::parse(&text)
    }
}

impl From<UsState> for String {
    fn from(state: UsState) -> Self {
        state.to_string()
    }
}

// Contract, section 1.3.
/// What happens to an incoming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IncomingCallAction)]
pub enum CallAction {
    /// The call is answered, and connected to the websocket of the client.
    AutoAccept,
    /// The call is rejected.
    #[default]
    AutoReject,
    /// A webhook decides.
    Webhook,
    /// An agent that the platform hosts answers the call.
    HostedAgent,
    /// The call is forwarded to a phone number or an address of SIP.
    Forward,
}

/// How a number treats incoming calls: the action, and the addresses that it needs. Events that were stored before there
/// was forwarding have none of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct CallHandling {
    /// The action.
    pub incoming_call_action: CallAction,
    /// The `wss://` address for `auto_accept`.
    #[schema(required)]
    pub client_websocket_url: Option<String>,
    /// The `https://` address for `webhook`.
    #[schema(required)]
    pub incoming_call_webhook_url: Option<String>,
    /// The kind of target for `forward`; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub forwarding_target_type: Option<ForwardingTargetType>,
    /// The phone number to which calls are forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub forwarding_phone_number: Option<String>,
    /// The address of SIP to which calls are forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub forwarding_sip_uri: Option<String>,
}

impl CallHandling {
    /// The name of the address that the action needs and that is missing.
    pub(crate) fn missing_address(&self) -> Option<&'static str> {
        match self.incoming_call_action {
            CallAction::AutoAccept if self.client_websocket_url.is_none() => Some("client_websocket_url"),
            CallAction::Webhook if self.incoming_call_webhook_url.is_none() => {
                Some("incoming_call_webhook_url")
            }
            CallAction::Forward if self.forwarding_target_type.is_none() => Some("forwarding_target_type"),
            CallAction::AutoAccept
            | CallAction::AutoReject
            | CallAction::Webhook
            | CallAction::HostedAgent
            | CallAction::Forward => None,
        }
    }
}

/// Forwarding.
impl CallHandling {
    /// How calls are treated after the change. Without a target there is no kind of target either.
    pub(crate) fn forwarded(mut self, change: &ForwardingChange) -> Self {
        if let Some(target_type) = change.target_type {
            self.give_up_targets_but(target_type);
        }
        if let Some(phone_number) = &change.phone_number {
            self.forwarding_phone_number.clone_from(phone_number);
        }
        if let Some(sip_uri) = &change.sip_uri {
            self.forwarding_sip_uri.clone_from(sip_uri);
        }
        let has_target = self.forwarding_phone_number.is_some() || self.forwarding_sip_uri.is_some();
        if change.target_type.is_none() && !has_target {
            self.forwarding_target_type = None;
        }
        self
    }

    fn give_up_targets_but(&mut self, kept: Option<ForwardingTargetType>) {
        self.forwarding_target_type = kept;
        if kept != Some(ForwardingTargetType::Phone) {
            self.forwarding_phone_number = None;
        }
        if kept != Some(ForwardingTargetType::Sip) {
            self.forwarding_sip_uri = None;
        }
    }

    /// The field that does not agree with the others. They agree if there is no target and no kind of target, or
    /// exactly one target, of that kind.
    pub fn unclear_target(&self) -> Option<&'static str> {
        let has_number = self.forwarding_phone_number.is_some();
        let has_address = self.forwarding_sip_uri.is_some();
        match self.forwarding_target_type {
            None if has_number || has_address => Some("forwarding_target_type"),
            Some(ForwardingTargetType::Phone) if !has_number => Some("forwarding_phone_number"),
            Some(ForwardingTargetType::Phone) if has_address => Some("forwarding_sip_uri"),
            Some(ForwardingTargetType::Sip) if !has_address => Some("forwarding_sip_uri"),
            Some(ForwardingTargetType::Sip) if has_number => Some("forwarding_phone_number"),
            None | Some(ForwardingTargetType::Phone | ForwardingTargetType::Sip) => None,
        }
    }
}

#[cfg(test)]
mod tests;
