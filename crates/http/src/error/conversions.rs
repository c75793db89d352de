//! Errors of the other crates, as errors of the API. Each mapping is an exhaustive `match`: a new error does not
//! compile until its code is chosen.

use std::error::Error;

use identity_domain::api_key::ApiKeyError;
use identity_domain::identity::IdentityError;
use identity_domain::organization::OrganizationError;
use identity_domain::vault::VaultError;
use identity_domain::vault_secret::VaultSecretError;
use identity_domain::webhook_subscription::WebhookSubscriptionError;
use identity_domain::{Namespace, Rejection, SubscriptionLimit};
use identity_log::proof::memory::MemoryError;
use identity_log::proof::{Refusal, SignError, TreeError};
use identity_log::signing_keys::SigningKeyError;
use identity_log::{AppendError, ReadError, ReadModelFailure, is_of_altered_database, is_outage};
use identity_projections::finder::FindError;
use identity_projections::past::PastError;
use identity_webhooks::deliveries::ReplayError;
use serde_json::json;
use uuid::Uuid;

use super::{ApiError, chain};
use crate::code::Code;
use crate::limits::buckets::whole_seconds;
use crate::revision::Revision;

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::of_database(&error, &error)
    }
}

impl From<FindError> for ApiError {
    fn from(error: FindError) -> Self {
        match &error {
            FindError::Database(cause) => Self::of_database(cause, &error),
            FindError::Late | FindError::Stopped => Self::unavailable(&error),
        }
    }
}

impl From<ReadModelFailure> for ApiError {
    fn from(failure: ReadModelFailure) -> Self {
        match failure {
            ReadModelFailure::Database(error) => error.into(),
            ReadModelFailure::Read(error) => error.into(),
            ReadModelFailure::Document(_)
            | ReadModelFailure::NotAnId(_)
            | ReadModelFailure::NotCommittedYet(_) => Self::internal(chain(&failure)),
        }
    }
}

impl From<SignError> for ApiError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Refused(refusal) => Self::log_refused(&refusal),
            SignError::Tree(error) => error.into(),
            SignError::Memory(MemoryError::Away(_) | MemoryError::Overtaken) => Self::unavailable(&error),
            SignError::Memory(_) => Self::internal(chain(&error)),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            ReadError::Copy(_)
            | ReadError::Undecodable { .. }
            | ReadError::Missing { .. }
            | ReadError::UnknownAggregate { .. }
            | ReadError::Torn { .. }
            | ReadError::SecondReader(_) => Self::internal(chain(&error)),
        }
    }
}

impl From<SigningKeyError> for ApiError {
    fn from(error: SigningKeyError) -> Self {
        match error {
            SigningKeyError::Database(error) => error.into(),
            SigningKeyError::NoRandomness(_) | SigningKeyError::Unsealable | SigningKeyError::Sealed(_) => {
                Self::internal(chain(&error))
            }
        }
    }
}

impl From<ReplayError> for ApiError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::SubscriptionGone => Self::webhook_subscription_gone(),
            ReplayError::DeliveryGone => Self::webhook_delivery_not_found(),
            ReplayError::Unsent(_) => Self::unavailable(&error),
            ReplayError::Database(error) => error.into(),
        }
    }
}

impl From<TreeError> for ApiError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Database(error) => error.into(),
            TreeError::Note(_) => Self::log_refused(&Refusal::UnreadableNote),
            TreeError::Proof(_) | TreeError::Tile => Self::internal(chain(&error)),
        }
    }
}

impl From<PastError> for ApiError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::Read(error) => error.into(),
            PastError::Database(error) => error.into(),
            PastError::Document(error) => error.into(),
        }
    }
}

impl From<serde_json::Error> for ApiError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(chain(&error))
    }
}

impl ApiError {
    /// An error of Postgres, which `error` tells of.
    fn of_database(cause: &sqlx::Error, error: &(dyn Error + 'static)) -> Self {
        if is_outage(cause) {
            Self::unavailable(error)
        } else if is_of_altered_database(cause) {
            Self::database_altered(error)
        } else {
            Self::internal(chain(error))
        }
    }

    /// Why a command to this aggregate was not carried out.
    pub(crate) fn of_append(aggregate_id: Uuid, error: AppendError) -> Self {
        match error {
            AppendError::Rejected(rejection) => rejection.into(),
            AppendError::VersionConflict { actual } => {
                Self::precondition_failed(Revision { id: aggregate_id, version: actual, changed_at: None })
            }
            AppendError::KeyRevoked => Self::unauthorized(),
            AppendError::Repeated => Self::repetition(),
            AppendError::Unavailable(cause) => Self::unavailable(&*cause),
            AppendError::OutcomeUnknown(cause) => Self::outcome_unknown(&*cause),
            AppendError::Altered(cause) => Self::database_altered(&*cause),
            AppendError::Failed(cause) => Self::internal(chain(&*cause)),
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Identity(error) => error.into(),
            Rejection::ApiKey(error) => error.into(),
            Rejection::Organization(error) => error.into(),
            Rejection::Vault(error) => error.into(),
            Rejection::VaultSecret(error) => error.into(),
            Rejection::WebhookSubscription(error) => error.into(),
        }
    }
}

/// An id that this service generated is in use already. No client can cause that.
fn id_in_use() -> ApiError {
    ApiError::internal("a generated id is in use already".to_owned())
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::NotFound => Self::identity_not_found(),
            IdentityError::AlreadyCreated => id_in_use(),
            IdentityError::HandleUnavailable(namespace) => handle_unavailable(namespace),
            IdentityError::RenamedTooOften(wait) => {
                Self::quota_used_up("renames of this identity", whole_seconds(wait))
            }
            IdentityError::TooManyNumbers(wait) => {
                Self::quota_used_up("phone numbers of this identity", whole_seconds(wait))
            }
            IdentityError::ViewerIsTarget => {
                Self::invalid_field("viewer_identity_id", "An identity always sees itself")
            }
            IdentityError::ViewerNotFound => Self::new(Code::ViewerNotFound, "Viewer identity not found"),
            IdentityError::AlreadyGranted => Self::new(Code::AccessAlreadyGranted, "Access already granted"),
            IdentityError::RedundantGrant => redundant_grant(),
            IdentityError::NotGranted => Self::new(Code::AccessNotFound, "Access not found"),
            IdentityError::PhoneExists => Self::new(Code::PhoneNumberExists, "Identity has a phone number"),
            IdentityError::NoPhone => Self::phone_number_not_found(),
            IdentityError::NoNumberAvailable => {
                Self::new(Code::NoPhoneNumberAvailable, "No phone number is available")
            }
            IdentityError::CallAddressMissing(field) => {
                Self::invalid_field(field, "Field required by this incoming_call_action")
            }
            IdentityError::ForwardingTargetUnclear(field) => Self::invalid_field(
                field,
                "Send exactly one forwarding target, of the kind that forwarding_target_type names",
            ),
            IdentityError::PhoneFilterWithoutPhone => {
                Self::invalid_field("phone_filter_mode", "The identity has no phone number")
            }
            IdentityError::SecretNotFound(_) => Self::vault_secret_not_found(),
            IdentityError::VaultAccessExists => {
                Self::new(Code::VaultAccessExists, "Identity has access to this vault secret")
            }
            IdentityError::VaultAccessMissing => {
                Self::new(Code::VaultAccessNotFound, "Access rule not found")
            }
        }
    }
}

/// Published clients know this conflict by its code, and read `blocking_namespace`.
fn handle_unavailable(namespace: Namespace) -> ApiError {
    let code = Code::AgentHandleUnavailable;
    let message = "This agent handle is unavailable";
    ApiError::new(code, json!({ "code": code.as_str(), "message": message, "blocking_namespace": namespace }))
}

/// Published clients recognize this conflict by `error` inside `detail`, and print the inner `detail`.
fn redundant_grant() -> ApiError {
    let text = "Every active identity already sees this one; revoke access first to narrow it";
    ApiError::new(
        Code::RedundantGrant,
        json!({ "error": Code::RedundantGrant.as_str(), "detail": text, "message": text }),
    )
}

impl From<ApiKeyError> for ApiError {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::NotFound => Self::api_key_not_found(),
            ApiKeyError::AlreadyIssued => id_in_use(),
            ApiKeyError::IdentityNotFound => Self::identity_not_found(),
            ApiKeyError::Ended => Self::api_key_ended(),
            ApiKeyError::ExpiryNotAhead => Self::invalid_field("expires_at", "Should be in the future"),
            ApiKeyError::ExpiryTooFar => {
                Self::invalid_field("expires_at", "Should be at most ten years from now")
            }
            ApiKeyError::OverlapTooLong => {
                Self::invalid_field("overlap_seconds", "Should be at most 30 days")
            }
            ApiKeyError::NotThePresentSecret => {
                Self::forbidden("An API key may not be rotated with its previous secret")
            }
        }
    }
}

impl From<OrganizationError> for ApiError {
    fn from(error: OrganizationError) -> Self {
        match error {
            OrganizationError::AlreadyCreated => id_in_use(),
        }
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NotInitialized => Self::vault_not_initialized(),
            VaultError::AlreadyInitialized => Self::new(Code::VaultExists, "Vault is initialized already"),
            VaultError::KeyNotFound => Self::vault_key_not_found(),
            VaultError::KeyExists => Self::new(Code::VaultKeyExists, "Vault key id is in use"),
            VaultError::LastKey => {
                Self::new(Code::LastVaultKey, "The last key of the vault cannot be deleted")
            }
        }
    }
}

impl From<VaultSecretError> for ApiError {
    fn from(error: VaultSecretError) -> Self {
        match error {
            VaultSecretError::NotFound => Self::vault_secret_not_found(),
            VaultSecretError::AlreadyRegistered => {
                Self::new(Code::VaultSecretExists, "Vault secret id is in use")
            }
        }
    }
}

impl From<WebhookSubscriptionError> for ApiError {
    fn from(error: WebhookSubscriptionError) -> Self {
        let sentence = match error {
            WebhookSubscriptionError::NotFound => return Self::webhook_subscription_not_found(),
            WebhookSubscriptionError::AlreadyCreated => return id_in_use(),
            WebhookSubscriptionError::TokenOfOtherOrigin => {
                let sentence =
                    "must be sent again, or be null, since the new url has another scheme, host or port";
                return Self::invalid_field("auth_token", sentence);
            }
            WebhookSubscriptionError::TooMany(SubscriptionLimit::Owner) => {
                "The owner has as many active webhook subscriptions as it may have: delete one first"
            }
            WebhookSubscriptionError::TooMany(SubscriptionLimit::Organization) => {
                "The organization has as many webhook subscriptions as it may have: delete one first"
            }
        };
        // Every 429 says when to come again.
        Self::new(Code::TooManyWebhooks, sentence).retry_after(3600)
    }
}
