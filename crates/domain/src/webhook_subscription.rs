//! The `WebhookSubscription` aggregate: an address to which events of one owner are sent. The owner is a mailbox, a phone number
//! or an identity. A bearer token of the address is sealed and kept beside the history; events say only whether there is one.

pub mod catalog;
mod context;

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

pub use context::{ClassContext, ContextConfig};

use crate::decider::Decider;
use crate::facts::{Facts, Needs, SubscriptionLimit, SubscriptionNeed};
use crate::upcasting::present_version;

/// The state of a subscription, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookSubscription {
    /// No event yet.
    #[default]
    NotYet,
    /// It exists.
    Live(Live),
    /// It was deleted.
    Deleted,
}

/// The state of a live subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The settings.
    pub settings: Settings,
    /// Whether it is disabled. Then nothing is sent.
    pub is_disabled: bool,
}

/// The settings of a subscription: where events are sent, which ones, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The address.
    pub url: String,
    /// The types of events that are sent, in the order in which the client named them.
    pub event_types: Vec<String>,
    /// How much of a conversation is sent along.
    pub context_config: Option<ContextConfig>,
    /// Whether deliveries carry a bearer token.
    pub has_auth_token: bool,
}

/// The kind of thing that owns a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A mailbox.
    Mailbox,
    /// A phone number.
    PhoneNumber,
    /// An identity.
    Identity,
}

/// The owner of a subscription. It never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its id.
    pub id: Uuid,
}

/// The data of a new subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creation {
    /// The identity to which the owner belongs, or which is the owner itself.
    pub identity_id: Uuid,
    /// The owner.
    pub owner: Owner,
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// Changes of a subscription. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The identity of the subscription, as it was read. It never changes.
    pub identity_id: Uuid,
    /// The id of the owner, as it was read. It never changes.
    pub owner_id: Uuid,
    /// A new address.
    pub url: Option<String>,
    /// New types of events.
    pub event_types: Option<Vec<String>>,
    /// How much of a conversation is sent along.
    pub context_config: Option<Option<ContextConfig>>,
    /// True if a new token is set, false if the token is removed.
    pub auth_token: Option<bool>,
}

/// A command to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Create the subscription.
    Create(Box<Creation>),
    /// Change some fields; the others stay. A disabled subscription becomes active if anything changes, or if its address is
    /// named again.
    Change(Box<Change>),
    /// Disable the subscription: nothing is sent until it is changed.
    Disable {
        /// Why.
        reason: DisableReason,
        /// The address that the reason is about. If the subscription has another address by now, the command changes
        /// nothing. `None` means whichever address it has.
        url: Option<String>,
    },
    /// Delete the subscription.
    Delete(DeleteReason),
}

/// Why a subscription was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisableReason {
    /// The operator has disabled it.
    Operator,
    /// The address has answered 410 Gone.
    Gone,
    /// Deliveries have failed for too long.
    Failing,
    /// More deliveries are waiting than the limit allows.
    Backlog,
}

impl DisableReason {
    /// Its wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Gone => "gone",
            Self::Failing => "failing",
            Self::Backlog => "backlog",
        }
    }
}

/// Why a subscription was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteReason {
    /// A client has deleted it.
    Client,
    /// Its identity was deleted, and with it everything that belongs to the identity.
    IdentityDeleted,
    /// The phone number that owned it was released.
    PhoneNumberReleased,
}

/// An event of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// It was created.
    #[serde(rename = "webhook_subscription.created")]
    Created(Creation),
    /// It was changed, and is active from now on. All fields, changed or not. The token may be another one.
    #[serde(rename = "webhook_subscription.changed")]
    Changed(Settings),
    /// It was disabled: nothing is sent until it is changed.
    #[serde(rename = "webhook_subscription.disabled")]
    Disabled {
        /// Why.
        reason: DisableReason,
    },
    /// It was deleted.
    #[serde(rename = "webhook_subscription.deleted")]
    Deleted {
        /// Why.
        reason: DeleteReason,
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
            Self::Created(_) => "webhook_subscription.created",
            Self::Changed(_) => "webhook_subscription.changed",
            Self::Disabled { .. } => "webhook_subscription.disabled",
            Self::Deleted { .. } => "webhook_subscription.deleted",
        }
    }
}

/// Why a subscription refuses a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookSubscriptionError {
    /// The subscription does not exist, or was deleted.
    #[error("webhook subscription not found")]
    NotFound,
    /// A subscription with this id was created before.
    #[error("webhook subscription already created")]
    AlreadyCreated,
    /// The owner or the organization has as many subscriptions as it may have.
    #[error("there are as many webhook subscriptions as there may be")]
    TooMany(SubscriptionLimit),
    /// The new address is of another origin, and the command does not say what becomes of the token.
    #[error("the bearer token was given for another scheme, host or port")]
    TokenOfOtherOrigin,
}

impl Decider for WebhookSubscription {
    fn needs(command: &Command) -> Needs {
        let subscriptions = match command {
            Command::Create(new) => {
                Some(SubscriptionNeed { identity_id: new.identity_id, owner_id: new.owner.id, is_new: true })
            }
            Command::Change(change) => {
                let Change { identity_id, owner_id, .. } = **change;
                Some(SubscriptionNeed { identity_id, owner_id, is_new: false })
            }
            Command::Disable { .. } | Command::Delete(_) => None,
        };
        Needs { subscriptions, ..Needs::default() }
    }

    fn begins(command: &Command) -> bool {
        matches!(command, Command::Create(_))
    }

    fn ends_with(event: &Event) -> bool {
        matches!(event, Event::Deleted { .. })
    }

    fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<Event>, WebhookSubscriptionError> {
        match (self, command) {
            (Self::NotYet, Command::Create(creation)) if !facts.id_is_taken => {
                is_below_limit(facts)?;
                Ok(vec![Event::Created((**creation).clone())])
            }
            (_, Command::Create(_)) => Err(WebhookSubscriptionError::AlreadyCreated),
            (Self::Live(live), Command::Change(change)) => changed(live, change, facts),
            (Self::Live(live), Command::Disable { reason, url }) => {
                let is_about_it = url.as_ref().is_none_or(|url| *url == live.settings.url);
                let is_disabled = is_about_it && !live.is_disabled;
                Ok(if is_disabled { vec![Event::Disabled { reason: *reason }] } else { vec![] })
            }
            (Self::Live(_), Command::Delete(reason)) => Ok(vec![Event::Deleted { reason: *reason }]),
            (Self::NotYet | Self::Deleted, _) => Err(WebhookSubscriptionError::NotFound),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match (&mut *self, event) {
            (_, Event::Created(Creation { settings, .. })) | (Self::Live(_), Event::Changed(settings)) => {
                *self = Self::Live(Live { settings: settings.clone(), is_disabled: false });
            }
            (_, Event::Deleted { .. }) => *self = Self::Deleted,
            (Self::Live(live), Event::Disabled { .. }) => live.is_disabled = true,
            (Self::NotYet | Self::Deleted, Event::Changed(_) | Event::Disabled { .. }) => {}
        }
    }
}

fn is_below_limit(facts: &Facts) -> Result<(), WebhookSubscriptionError> {
    facts.subscription_limit.map_or(Ok(()), |limit| Err(WebhookSubscriptionError::TooMany(limit)))
}

/// Whether a new token equals the old one is not known here, so every new token is a change.
fn changed(live: &Live, change: &Change, facts: &Facts) -> Result<Vec<Event>, WebhookSubscriptionError> {
    let Settings { url, event_types, context_config, has_auth_token } = live.settings.clone();
    let settings = Settings {
        url: change.url.clone().unwrap_or(url),
        event_types: change.event_types.clone().unwrap_or(event_types),
        context_config: change.context_config.unwrap_or(context_config),
        has_auth_token: change.auth_token.unwrap_or(has_auth_token),
    };
    let names_address_again = live.is_disabled && change.url.is_some();
    if settings == live.settings && change.auth_token != Some(true) && !names_address_again {
        return Ok(vec![]);
    }
    let keeps_token = has_auth_token && change.auth_token.is_none();
    if keeps_token && !is_same_origin(&live.settings.url, &settings.url) {
        return Err(WebhookSubscriptionError::TokenOfOtherOrigin);
    }
    if live.is_disabled {
        is_below_limit(facts)?;
    }
    Ok(vec![Event::Changed(settings)])
}

/// Whether two addresses have the same scheme, host and port. A token is sent only to the origin for which it was
/// given: a caller that changes the address may not know the token.
fn is_same_origin(one: &str, other: &str) -> bool {
    let origin = |text| Url::parse(text).map(|url| url.origin());
    origin(one).is_ok_and(|one| origin(other).is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests;
