//! What a write is: the command, who asks for it, and its answer.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use identity_domain::Command;

use crate::ciphertexts::CiphertextChange;
use crate::event::metadata::{Actor, Metadata};
use crate::event::recorded::Recorded;

/// A command and who asks for it.
#[derive(Debug, Clone)]
pub struct Append {
    /// The organization whose history gets the events.
    pub organization_id: String,
    /// The aggregate that decides the command.
    pub aggregate_id: String,
    /// The command.
    pub command: Command,
    /// The actor. A command of a key is refused if the key is revoked or expired, or its identity deleted, at the place in
    /// the log where the events of the command would stand.
    pub actor: Actor,
    /// SHA-256 of the secret that the actor presented, in lower-case hexadecimal; empty for the operator. The command is
    /// refused, too, if the key has another secret by then.
    pub secret_sha256: String,
    /// The metadata of its events.
    pub metadata: Metadata,
    /// The version that the aggregate must have; `None` accepts any version.
    pub expected_version: Option<i64>,
    /// The idempotency key of the write, and how to compose the answer that is kept.
    pub repeatable: Option<Repeatable>,
    /// Which access rows the answer shows, if the command is to an identity.
    pub shown_access: ShownAccess,
    /// What the command does to the ciphertexts of its aggregate, if it yields an event. Written in the transaction of the
    /// events.
    pub ciphertexts: Vec<CiphertextChange>,
    /// A command to another aggregate of the organization that is carried out with this one or not at all, if this one yields
    /// an event. It is decided first. Of its fields, only the aggregate, the command and the ciphertexts count.
    pub companion: Option<Box<Self>>,
    /// Whether the command may write much. It is then written in a batch of its own, between batches of other commands.
    pub is_bulk: bool,
    /// Whether the command is still to be written. A clone of it lets the caller abandon the command.
    pub fate: Fate,
}

impl Append {
    /// The command, and the one that is carried out with it.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Self> {
        [Some(self), self.companion.as_deref()].into_iter().flatten()
    }

    /// Another command of the same actor in the same request.
    #[must_use]
    pub(crate) fn followed_by(&self, aggregate_id: String, command: Command) -> Self {
        let (ciphertexts, companion) = (vec![], None);
        Self { aggregate_id, command, ciphertexts, companion, expected_version: None, ..self.clone() }
    }
}

/// Which access rows of an identity the answer to a command shows. The committer hands them out with the answer, as they are after
/// the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShownAccess {
    /// The answer shows none.
    #[default]
    None,
    /// The answer shows all of them. The caller has read them at this version of the identity, so they are handed out only if they
    /// have changed since.
    ChangedAfter(i64),
    /// The answer shows all of them, and they are always handed out.
    All,
}

/// Whether a command is waiting, abandoned by its caller, or on its way to Postgres. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fate(Arc<AtomicU8>);

impl Fate {
    const WAITING: u8 = 0;
    const ABANDONED: u8 = 1;
    const SENT: u8 = 2;

    /// Abandons the command. Returns true if it was not on its way yet: then it is never carried out.
    pub fn abandon(&self) -> bool {
        self.become_or_is(Self::ABANDONED)
    }

    /// Marks the command as on its way to Postgres. Returns false if it was abandoned before.
    pub fn send(&self) -> bool {
        self.become_or_is(Self::SENT)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::ABANDONED
    }

    fn become_or_is(&self, state: u8) -> bool {
        let exchanged = self.0.compare_exchange(Self::WAITING, state, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.map_or_else(|present| present == state, |_| true)
    }
}

/// What the read models hand out of an aggregate as it is after a command, each in its own type.
#[derive(Clone, Default)]
pub struct Made(Vec<Arc<dyn Any + Send + Sync>>);

impl Made {
    /// Adds a value. There is one of each type.
    pub(crate) fn add<T: Any + Send + Sync>(&mut self, value: T) {
        self.0.push(Arc::new(value));
    }

    /// The value of this type, if there is one.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.iter().find_map(|value| value.downcast_ref())
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Made").finish_non_exhaustive()
    }
}

/// The answer to a command that was committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The version of the aggregate after the command.
    pub version: i64,
    /// The events of the command; empty if it changes nothing.
    pub events: Vec<Recorded>,
    /// The events of other aggregates that follow in the same transaction: those of the command that is carried out with this
    /// one, and the ends of what ends with this one.
    pub further: Vec<Recorded>,
    /// The answer that was kept, if the write has an idempotency key.
    pub kept: Option<Kept>,
    /// What the read models hand out of the aggregate as it is after the command. The answer is made of it, and needs no query
    /// and no fold.
    pub made: Made,
    /// The size of the payloads of all these events, in bytes.
    pub payload_bytes: u64,
}

impl Committed {
    /// The events of the command, and those of other aggregates that follow, in order.
    pub(crate) fn all_events(&self) -> impl Iterator<Item = &Recorded> {
        self.events.iter().chain(&self.further)
    }
}

/// The idempotency key of a write, and the request that it stands for.
#[derive(Clone)]
pub struct Repeatable {
    /// The client's key. It is unique within one [scope](Actor::idempotency_scope) of an organization.
    pub key: String,
    /// Digest of the request. It tells a repetition from another request with the same key.
    pub fingerprint: [u8; 32],
    /// Composes the answer that is kept.
    pub answer: Arc<dyn Compose>,
}

impl fmt::Debug for Repeatable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Repeatable").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Composes the answer to a write.
pub trait Compose: Send + Sync {
    /// Composes the answer to the write `committed`. Nothing is read from the database: `committed` has all that the answer shows.
    fn compose(&self, committed: &Committed) -> Result<Kept, NotComposed>;
}

/// An answer could not be composed, which is a defect.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be composed")]
pub struct NotComposed(#[source] pub Box<dyn Error + Send + Sync>);

/// An answer that is kept for repetitions of its request. The log stores it and does not interpret it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// HTTP status.
    pub status: u16,
    /// The body; empty if there is none.
    pub body: String,
    /// The entity tag.
    pub entity_tag: String,
}
