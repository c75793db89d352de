//! The metadata of an event: its actor, its request, and the software that wrote it.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Who makes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// An admin key.
    AdminKey(Uuid),
    /// An agent key, which is bound to one identity.
    AgentKey {
        /// The key.
        key: Uuid,
        /// The identity. The key is valid as long as the identity is live.
        identity: Uuid,
    },
    /// An auditor key. It only reads, so no event names one.
    AuditorKey(Uuid),
    /// The operator at the command line, without a key.
    Operator,
    /// The service itself, when it disables a webhook subscription.
    Service,
}

impl Actor {
    /// The public id of the key, `operator`, or `service`. History and logs name the actor by it.
    pub fn id(&self) -> String {
        match self {
            Self::AdminKey(key) | Self::AgentKey { key, .. } | Self::AuditorKey(key) => {
                format!("ApiKey_{key}")
            }
            Self::Operator => "operator".to_owned(),
            Self::Service => "service".to_owned(),
        }
    }

    /// The key, and the identity that the key is bound to. `None` for the operator and for the service.
    pub(crate) const fn key(&self) -> Option<(Uuid, Option<Uuid>)> {
        match self {
            Self::AdminKey(key) | Self::AuditorKey(key) => Some((*key, None)),
            Self::AgentKey { key, identity } => Some((*key, Some(*identity))),
            Self::Operator | Self::Service => None,
        }
    }

    /// The scope of its idempotency keys. All admin keys of an organization share one scope; each identity has its own.
    pub fn idempotency_scope(&self) -> String {
        match self {
            Self::AdminKey(_) => "admin".to_owned(),
            Self::AgentKey { identity, .. } => identity.to_string(),
            Self::AuditorKey(_) => "auditor".to_owned(),
            Self::Operator => "operator".to_owned(),
            Self::Service => "service".to_owned(),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::AdminKey(_) => "admin_key",
            Self::AgentKey { .. } => "agent_key",
            Self::AuditorKey(_) => "auditor_key",
            Self::Operator => "operator",
            Self::Service => "service",
        }
    }
}

/// What is stored with every event beside its payload. All values are text, since cqrs-es reads nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata(pub BTreeMap<String, String>);

impl Metadata {
    /// The metadata of an event that `actor` caused with a request.
    pub fn new(actor: &Actor, request_id: &str) -> Self {
        let entries = [
            ("actor", actor.id()),
            ("actor_kind", actor.kind().to_owned()),
            ("request_id", request_id.to_owned()),
            ("software", concat!("identityd/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        Self(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Adds the idempotency key of the request.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: &str) -> Self {
        self.0.insert("idempotency_key".to_owned(), key.to_owned());
        self
    }
}
