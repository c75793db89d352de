//! Why an identity refuses a command.

use std::time::Duration;

use uuid::Uuid;

use crate::facts::Namespace;

/// A refusal. Each variant is one rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The identity does not exist, or was deleted.
    #[error("identity not found")]
    NotFound,
    /// An identity with this id was created before.
    #[error("identity already created")]
    AlreadyCreated,
    /// Another identity has the name, the name is on hold after its last use, or it is reserved.
    #[error("agent handle is unavailable in namespace {0}")]
    HandleUnavailable(Namespace),
    /// The identity was renamed as often as it may be in a day.
    #[error("the identity was renamed too often, and may be again in {0:?}")]
    RenamedTooOften(Duration),
    /// The identity got as many phone numbers as it may get in a day.
    #[error("the identity got too many phone numbers, and may get another in {0:?}")]
    TooManyNumbers(Duration),
    /// An identity always sees itself, so it cannot be its own viewer.
    #[error("an identity cannot be its own viewer")]
    ViewerIsTarget,
    /// The viewer is not a live identity of the organization.
    #[error("viewer identity not found")]
    ViewerNotFound,
    /// The viewer has an access row already.
    #[error("access already granted")]
    AlreadyGranted,
    /// The wildcard already includes the viewer.
    #[error("every active identity already sees this one")]
    RedundantGrant,
    /// The viewer has no access that could be revoked.
    #[error("access not found")]
    NotGranted,
    /// The identity has a phone number already, and can have only one.
    #[error("identity already has a phone number")]
    PhoneExists,
    /// The identity has no phone number.
    #[error("identity has no phone number")]
    NoPhone,
    /// The pool has no free number of this kind.
    #[error("no phone number is available")]
    NoNumberAvailable,
    /// The action on incoming calls needs an address that is missing.
    #[error("{0} is required by this incoming_call_action")]
    CallAddressMissing(&'static str),
    /// Calls would be forwarded to no target, to two targets, or to a target that is not of `forwarding_target_type`.
    #[error("{0} does not agree with the target to which calls are forwarded")]
    ForwardingTargetUnclear(&'static str),
    /// A filter mode of the phone is given, and there is no phone number.
    #[error("phone_filter_mode needs a phone number")]
    PhoneFilterWithoutPhone,
    /// The secret does not exist in the organization.
    #[error("vault secret {0} not found")]
    SecretNotFound(Uuid),
    /// The identity may use the secret already.
    #[error("identity already has access to this vault secret")]
    VaultAccessExists,
    /// The identity may not use the secret.
    #[error("identity has no access to this vault secret")]
    VaultAccessMissing,
}
