//! Who did it, in the course of which request, with which software.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Who asks for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A key with an organization's full authority.
    AdminKey(Uuid),
    /// A key bound to one identity.
    AgentKey {
        /// The key.
        key: Uuid,
        /// The identity. The key is valid as long as the identity is live.
        identity: Uuid,
    },
    /// A key that only reads history. It changes nothing, so it is never found there.
    AuditorKey(Uuid),
    /// Somebody at the command line, who needs no key.
    Operator,
}

impl Actor {
    /// How an actor is written wherever one is named: the key's public id, or `operator`.
    pub fn id(&self) -> String {
        match self {
            Self::AdminKey(key) | Self::AgentKey { key, .. } | Self::AuditorKey(key) => {
                format!("ApiKey_{key}")
            }
            Self::Operator => "operator".to_owned(),
        }
    }

    /// The key, and the identity that it is bound to. The operator needs no key.
    pub(crate) const fn key(&self) -> Option<(Uuid, Option<Uuid>)> {
        match self {
            Self::AdminKey(key) | Self::AuditorKey(key) => Some((*key, None)),
            Self::AgentKey { key, identity } => Some((*key, Some(*identity))),
            Self::Operator => None,
        }
    }

    /// Whose idempotency keys it uses: all admins of an organization share theirs, and each identity has its own.
    pub fn idempotency_scope(&self) -> String {
        match self {
            Self::AdminKey(_) => "admin".to_owned(),
            Self::AgentKey { identity, .. } => identity.to_string(),
            Self::AuditorKey(_) => "auditor".to_owned(),
            Self::Operator => "operator".to_owned(),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::AdminKey(_) => "admin_key",
            Self::AgentKey { .. } => "agent_key",
            Self::AuditorKey(_) => "auditor_key",
            Self::Operator => "operator",
        }
    }
}

/// What is written beside every event. All values are text: that is what cqrs-es reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata(pub BTreeMap<String, String>);

impl Metadata {
    /// Metadata of an event that `actor` caused in the course of a request.
    pub fn new(actor: &Actor, request_id: &str) -> Self {
        let entries = [
            ("actor", actor.id()),
            ("actor_kind", actor.kind().to_owned()),
            ("request_id", request_id.to_owned()),
            ("software", concat!("identityd/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        Self(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The same of a request that may be repeated under a key.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: &str) -> Self {
        self.0.insert("idempotency_key".to_owned(), key.to_owned());
        self
    }
}
