//! The six aggregates as one enum, for code that handles all of them: the log, and tools that read it.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api_key::{self, ApiKey, ApiKeyError};
use crate::decider::Decider;
use crate::facts::{Facts, Needs};
use crate::identity::{self, Identity, IdentityError};
use crate::organization::{self, Organization, OrganizationError};
use crate::vault::{self, Vault, VaultError};
use crate::vault_secret::{self, VaultSecret, VaultSecretError};
use crate::webhook_subscription::{self, WebhookSubscription, WebhookSubscriptionError};

/// The type of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`Identity`].
    Identity,
    /// [`ApiKey`].
    ApiKey,
    /// [`Organization`].
    Organization,
    /// [`Vault`].
    Vault,
    /// [`VaultSecret`].
    VaultSecret,
    /// [`WebhookSubscription`].
    WebhookSubscription,
}

/// A command to any aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A command to an identity.
    Identity(identity::Command),
    /// A command to a key.
    ApiKey(api_key::Command),
    /// A command to an organization.
    Organization(organization::Command),
    /// A command to a vault.
    Vault(vault::Command),
    /// A command to a vault secret.
    VaultSecret(vault_secret::Command),
    /// A command to a webhook subscription.
    WebhookSubscription(webhook_subscription::Command),
}

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Of an identity.
    Identity(identity::Event),
    /// Of a key.
    ApiKey(api_key::Event),
    /// Of an organization.
    Organization(organization::Event),
    /// Of a vault.
    Vault(vault::Event),
    /// Of a vault secret.
    VaultSecret(vault_secret::Event),
    /// Of a webhook subscription.
    WebhookSubscription(webhook_subscription::Event),
}

/// A refusal by any aggregate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// By an identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// By a key.
    #[error(transparent)]
    ApiKey(#[from] ApiKeyError),
    /// By an organization.
    #[error(transparent)]
    Organization(#[from] OrganizationError),
    /// By a vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// By a vault secret.
    #[error(transparent)]
    VaultSecret(#[from] VaultSecretError),
    /// By a webhook subscription.
    #[error(transparent)]
    WebhookSubscription(#[from] WebhookSubscriptionError),
}

/// The state of any aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Of an identity.
    Identity(Identity),
    /// Of a key.
    ApiKey(ApiKey),
    /// Of an organization.
    Organization(Organization),
    /// Of a vault.
    Vault(Vault),
    /// Of a vault secret.
    VaultSecret(VaultSecret),
    /// Of a webhook subscription.
    WebhookSubscription(WebhookSubscription),
}

impl Kind {
    /// All types.
    pub const ALL: [Self; 6] = [
        Self::Identity,
        Self::ApiKey,
        Self::Organization,
        Self::Vault,
        Self::VaultSecret,
        Self::WebhookSubscription,
    ];

    /// Its wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => Identity::TYPE,
            Self::ApiKey => ApiKey::TYPE,
            Self::Organization => Organization::TYPE,
            Self::Vault => Vault::TYPE,
            Self::VaultSecret => VaultSecret::TYPE,
            Self::WebhookSubscription => WebhookSubscription::TYPE,
        }
    }

    /// The aggregate with this wire name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Command {
    /// The type of the aggregate that decides it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Identity(_) => Kind::Identity,
            Self::ApiKey(_) => Kind::ApiKey,
            Self::Organization(_) => Kind::Organization,
            Self::Vault(_) => Kind::Vault,
            Self::VaultSecret(_) => Kind::VaultSecret,
            Self::WebhookSubscription(_) => Kind::WebhookSubscription,
        }
    }

    /// Whether it creates its aggregate under a newly generated id, so that no other aggregate has this id. That is not
    /// so for a vault secret, whose id a client may choose, and for a vault, whose id follows from its organization.
    pub const fn begins(&self) -> bool {
        matches!(
            self,
            Self::Identity(identity::Command::Create(_))
                | Self::ApiKey(api_key::Command::Issue(_))
                | Self::Organization(organization::Command::Create { .. })
                | Self::WebhookSubscription(webhook_subscription::Command::Create(_))
        )
    }

    /// What has to be looked up before it can be decided.
    pub fn needs(&self) -> Needs {
        match self {
            Self::Identity(command) => Identity::needs(command),
            Self::ApiKey(command) => ApiKey::needs(command),
            Self::Organization(command) => Organization::needs(command),
            Self::Vault(command) => Vault::needs(command),
            Self::VaultSecret(command) => VaultSecret::needs(command),
            Self::WebhookSubscription(command) => WebhookSubscription::needs(command),
        }
    }
}

impl Event {
    /// The type of its aggregate.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Identity(_) => Kind::Identity,
            Self::ApiKey(_) => Kind::ApiKey,
            Self::Organization(_) => Kind::Organization,
            Self::Vault(_) => Kind::Vault,
            Self::VaultSecret(_) => Kind::VaultSecret,
            Self::WebhookSubscription(_) => Kind::WebhookSubscription,
        }
    }

    /// Its wire name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Identity(event) => event.name(),
            Self::ApiKey(event) => event.name(),
            Self::Organization(event) => event.name(),
            Self::Vault(event) => event.name(),
            Self::VaultSecret(event) => event.name(),
            Self::WebhookSubscription(event) => event.name(),
        }
    }

    /// Whether it ends its aggregate, which then refuses every command.
    pub const fn is_end(&self) -> bool {
        matches!(
            self,
            Self::Identity(identity::Event::Deleted { .. })
                | Self::VaultSecret(vault_secret::Event::Deleted {})
                | Self::WebhookSubscription(webhook_subscription::Event::Deleted { .. })
        )
    }

    /// Its event version.
    pub fn version(&self) -> String {
        match self {
            Self::Identity(event) => event.event_version(),
            Self::ApiKey(event) => event.event_version(),
            Self::Organization(event) => event.event_version(),
            Self::Vault(event) => event.event_version(),
            Self::VaultSecret(event) => event.event_version(),
            Self::WebhookSubscription(event) => event.event_version(),
        }
    }

    /// The payload, as the log stores it.
    pub fn encode(&self) -> Result<Value, serde_json::Error> {
        match self {
            Self::Identity(event) => serde_json::to_value(event),
            Self::ApiKey(event) => serde_json::to_value(event),
            Self::Organization(event) => serde_json::to_value(event),
            Self::Vault(event) => serde_json::to_value(event),
            Self::VaultSecret(event) => serde_json::to_value(event),
            Self::WebhookSubscription(event) => serde_json::to_value(event),
        }
    }

    /// Decodes a payload of the present version ([`crate::upcasting`]).
    pub fn decode(kind: Kind, payload: Value) -> Result<Self, serde_json::Error> {
        match kind {
            Kind::Identity => serde_json::from_value(payload).map(Self::Identity),
            Kind::ApiKey => serde_json::from_value(payload).map(Self::ApiKey),
            Kind::Organization => serde_json::from_value(payload).map(Self::Organization),
            Kind::Vault => serde_json::from_value(payload).map(Self::Vault),
            Kind::VaultSecret => serde_json::from_value(payload).map(Self::VaultSecret),
            Kind::WebhookSubscription => serde_json::from_value(payload).map(Self::WebhookSubscription),
        }
    }

    /// Decodes a payload of the present version from JSON text.
    pub fn decode_text(kind: Kind, payload: &[u8]) -> Result<Self, serde_json::Error> {
        match kind {
            Kind::Identity => serde_json::from_slice(payload).map(Self::Identity),
            Kind::ApiKey => serde_json::from_slice(payload).map(Self::ApiKey),
            Kind::Organization => serde_json::from_slice(payload).map(Self::Organization),
            Kind::Vault => serde_json::from_slice(payload).map(Self::Vault),
            Kind::VaultSecret => serde_json::from_slice(payload).map(Self::VaultSecret),
            Kind::WebhookSubscription => serde_json::from_slice(payload).map(Self::WebhookSubscription),
        }
    }
}

impl State {
    /// The state before the first event.
    pub fn initial(kind: Kind) -> Self {
        match kind {
            Kind::Identity => Self::Identity(Identity::default()),
            Kind::ApiKey => Self::ApiKey(ApiKey::default()),
            Kind::Organization => Self::Organization(Organization::default()),
            Kind::Vault => Self::Vault(Vault::default()),
            Kind::VaultSecret => Self::VaultSecret(VaultSecret::default()),
            Kind::WebhookSubscription => Self::WebhookSubscription(WebhookSubscription::default()),
        }
    }

    /// Decides a command. `None` if the command is for another type of aggregate.
    pub fn decide(&self, command: &Command, facts: &Facts) -> Option<Result<Vec<Event>, Rejection>> {
        match (self, command) {
            (Self::Identity(state), Command::Identity(command)) => {
                Some(decided(state, command, facts, Event::Identity))
            }
            (Self::ApiKey(state), Command::ApiKey(command)) => {
                Some(decided(state, command, facts, Event::ApiKey))
            }
            (Self::Organization(state), Command::Organization(command)) => {
                Some(decided(state, command, facts, Event::Organization))
            }
            (Self::Vault(state), Command::Vault(command)) => {
                Some(decided(state, command, facts, Event::Vault))
            }
            (Self::VaultSecret(state), Command::VaultSecret(command)) => {
                Some(decided(state, command, facts, Event::VaultSecret))
            }
            (Self::WebhookSubscription(state), Command::WebhookSubscription(command)) => {
                Some(decided(state, command, facts, Event::WebhookSubscription))
            }
            _ => None,
        }
    }

    /// Applies an event. An event of another type of aggregate changes nothing.
    pub fn evolve(&mut self, event: &Event) {
        match (self, event) {
            (Self::Identity(state), Event::Identity(event)) => state.evolve(event),
            (Self::ApiKey(state), Event::ApiKey(event)) => state.evolve(event),
            (Self::Organization(state), Event::Organization(event)) => state.evolve(event),
            (Self::Vault(state), Event::Vault(event)) => state.evolve(event),
            (Self::VaultSecret(state), Event::VaultSecret(event)) => state.evolve(event),
            (Self::WebhookSubscription(state), Event::WebhookSubscription(event)) => state.evolve(event),
            _ => {}
        }
    }
}

fn decided<D: Decider>(
    state: &D,
    command: &D::Command,
    facts: &Facts,
    wrap: fn(D::Event) -> Event,
) -> Result<Vec<Event>, Rejection>
where
    Rejection: From<D::Error>,
{
    Ok(state.decide(command, facts)?.into_iter().map(wrap).collect())
}
