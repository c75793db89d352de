//! Why an identity refuses a command.

use uuid::Uuid;

use crate::facts::Namespace;

/// A refusal, one rule each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is none, or no longer.
    #[error("identity not found")]
    NotFound,
    /// The id was used before.
    #[error("identity already created")]
    AlreadyCreated,
    /// Somebody else holds the name, it is held back after its last use, or nobody may have it.
    #[error("agent handle is unavailable in namespace {0}")]
    HandleUnavailable(Namespace),
    /// An identity always sees itself; a grant would mean nothing.
    #[error("an identity cannot be its own viewer")]
    ViewerIsTarget,
    /// The viewer is not a live identity of the organization.
    #[error("viewer identity not found")]
    ViewerNotFound,
    /// The viewer already sees it by a row of its own.
    #[error("access already granted")]
    AlreadyGranted,
    /// The viewer already sees it by the wildcard.
    #[error("every active identity already sees this one")]
    RedundantGrant,
    /// The viewer has no access that could be revoked.
    #[error("access not found")]
    NotGranted,
    /// It has a number; one is the most.
    #[error("identity already has a phone number")]
    PhoneExists,
    /// It has no number.
    #[error("identity has no phone number")]
    NoPhone,
    /// The carrier has no number of this kind.
    #[error("no phone number is available")]
    NoNumberAvailable,
    /// The action on incoming calls needs an address that is not there.
    #[error("{0} is required by this incoming_call_action")]
    CallAddressMissing(&'static str),
    /// A filter mode for a phone that is not there.
    #[error("phone_filter_mode needs a phone number")]
    PhoneFilterWithoutPhone,
    /// The secret does not exist in the organization.
    #[error("vault secret {0} not found")]
    SecretNotFound(Uuid),
    /// It already has access to the secret.
    #[error("identity already has access to this vault secret")]
    VaultAccessExists,
    /// It has no access to the secret.
    #[error("identity has no access to this vault secret")]
    VaultAccessMissing,
}
