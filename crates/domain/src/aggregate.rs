//! The aggregates as one enum, for code that handles all of them: the log, and tools that read it. The table below the macro is
//! the only list of them.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api_key::{self, ApiKey, ApiKeyError};
use crate::decider::{self, Decider};
use crate::facts::{Facts, Needs};
use crate::identity::{self, Identity, IdentityError};
use crate::organization::{self, Organization, OrganizationError};
use crate::vault::{self, Vault, VaultError};
use crate::vault_secret::{self, VaultSecret, VaultSecretError};
use crate::webhook_subscription::{self, WebhookSubscription, WebhookSubscriptionError};

/// Makes, from a table of aggregates, each of them an aggregate of cqrs-es, and the enums of all. A row has the wire name, the
/// type, the module with its `Command` and `Event`, and the error.
macro_rules! aggregates {
    ($($name:literal $kind:ident: $module:ident, $error:ident;)+) => {
        $(
            impl Aggregate for $kind {
                const TYPE: &'static str = $name;
                type Command = $module::Command;
                type Event = $module::Event;
                type Error = $error;
                type Services = Facts;

                async fn handle(
                    &mut self,
                    command: $module::Command,
                    facts: &Facts,
                    sink: &EventSink<Self>,
                ) -> Result<(), $error> {
                    decider::handle(self, &command, facts, sink).await
                }

                fn apply(&mut self, event: $module::Event) {
                    self.evolve(&event);
                }
            }
        )+

        /// The type of an aggregate.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = concat!("[`", stringify!($kind), "`].")] $kind,)+
        }

        /// A command to any aggregate.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Command {
            $(#[doc = concat!("To a [`", stringify!($kind), "`].")] $kind($module::Command),)+
        }

        /// An event of any aggregate.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $(#[doc = concat!("Of a [`", stringify!($kind), "`].")] $kind($module::Event),)+
        }

        /// A refusal by any aggregate.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum Rejection {
            $(
                #[doc = concat!("By a [`", stringify!($kind), "`].")]
                #[error(transparent)]
                $kind(#[from] $error),
            )+
        }

        /// The state of any aggregate.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum State {
            $(#[doc = concat!("Of a [`", stringify!($kind), "`].")] $kind($kind),)+
        }

        impl Kind {
            /// All types.
            pub const ALL: [Self; [$($name,)+].len()] = [$(Self::$kind,)+];

            /// Its wire name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $kind::TYPE,)+
                }
            }

            /// Does something with the type of the aggregate.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$kind => visitor.visit::<$kind>(Event::$kind, State::$kind),)+
                }
            }
        }

        impl Command {
            /// The type of the aggregate that decides it.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                }
            }

            /// Whether it creates its aggregate under a newly generated id, so that no other aggregate has this id.
            pub fn begins(&self) -> bool {
                match self {
                    $(Self::$kind(command) => $kind::begins(command),)+
                }
            }

            /// What has to be looked up before it can be decided.
            pub fn needs(&self) -> Needs {
                match self {
                    $(Self::$kind(command) => $kind::needs(command),)+
                }
            }
        }

        impl Event {
            /// The type of its aggregate.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                }
            }

            /// Its wire name.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind(event) => event.name(),)+
                }
            }

            /// Whether it ends its aggregate, which then refuses every command.
            pub fn is_end(&self) -> bool {
                match self {
                    $(Self::$kind(event) => $kind::ends_with(event),)+
                }
            }

            /// Its event version.
            pub fn version(&self) -> String {
                match self {
                    $(Self::$kind(event) => event.event_version(),)+
                }
            }

            /// The payload, as the log stores it.
            pub fn encode(&self) -> Result<Value, serde_json::Error> {
                match self {
                    $(Self::$kind(event) => serde_json::to_value(event),)+
                }
            }

            /// Decodes a payload of the present version ([`crate::upcasting`]).
            pub fn decode(kind: Kind, payload: Value) -> Result<Self, serde_json::Error> {
                match kind {
                    $(Kind::$kind => serde_json::from_value(payload).map(Self::$kind),)+
                }
            }

            /// Decodes a payload of the present version from JSON text.
            pub fn decode_text(kind: Kind, payload: &[u8]) -> Result<Self, serde_json::Error> {
                match kind {
                    $(Kind::$kind => serde_json::from_slice(payload).map(Self::$kind),)+
                }
            }
        }

        impl State {
            /// The state before the first event.
            pub fn initial(kind: Kind) -> Self {
                match kind {
                    $(Kind::$kind => Self::$kind($kind::default()),)+
                }
            }

            /// Decides a command. `None` if the command is for another type of aggregate.
            pub fn decide(&self, command: &Command, facts: &Facts) -> Option<Result<Vec<Event>, Rejection>> {
                Some(match (self, command) {
                    $((Self::$kind(state), Command::$kind(command)) => match state.decide(command, facts) {
                        Ok(events) => Ok(events.into_iter().map(Event::$kind).collect()),
                        Err(refusal) => Err(refusal.into()),
                    },)+
                    _ => return None,
                })
            }

            /// Applies an event. An event of another type of aggregate changes nothing.
            pub fn evolve(&mut self, event: &Event) {
                match (self, event) {
                    $((Self::$kind(state), Event::$kind(event)) => state.evolve(event),)+
                    _ => {}
                }
            }
        }
    };
}

aggregates! {
    "identity" Identity: identity, IdentityError;
    "api_key" ApiKey: api_key, ApiKeyError;
    "organization" Organization: organization, OrganizationError;
    "vault" Vault: vault, VaultError;
    "vault_secret" VaultSecret: vault_secret, VaultSecretError;
    "webhook_subscription" WebhookSubscription: webhook_subscription, WebhookSubscriptionError;
}

/// Something that is done with an aggregate whose type is known only when the program runs.
pub trait Visitor {
    /// Its result.
    type Output;

    /// Does it with the aggregate `D`. The functions turn an event and a state of `D` into those of the enums.
    fn visit<D: Decider>(self, event: fn(D::Event) -> Event, state: fn(D) -> State) -> Self::Output;
}

impl Kind {
    /// The aggregate with this wire name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
