//! Values of phone numbers: the US state of a number, and what happens to an incoming call.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
}

/// How a number treats incoming calls: the action, and the addresses that it needs.
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
}

impl CallHandling {
    /// The name of the address that the action needs and that is missing.
    pub fn missing_address(&self) -> Option<&'static str> {
        match self.incoming_call_action {
            CallAction::AutoAccept if self.client_websocket_url.is_none() => Some("client_websocket_url"),
            CallAction::Webhook if self.incoming_call_webhook_url.is_none() => {
                Some("incoming_call_webhook_url")
            }
            CallAction::AutoAccept
            | CallAction::AutoReject
            | CallAction::Webhook
            | CallAction::HostedAgent => None,
        }
    }
}

#[cfg(test)]
mod tests;
