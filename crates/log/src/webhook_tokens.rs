//! The bearer tokens that deliveries to webhook subscriptions carry. A client sets one, nobody is shown it again, and only whoever
//! delivers opens it. It is sealed like a signing key (`signing_keys.rs`), with the id of its subscription.

use identity_domain::Kind;
use secrecy::SecretString;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::ciphertexts::{self, CiphertextChange};
use crate::signing_keys::{SecretsKey, SigningKeyError};

/// The name of the ciphertext.
pub const NAME: &str = "auth_token";

/// Why a token cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It was sealed under another secrets key, for another subscription, or was changed.
    #[error("the token of webhook subscription {0} does not open with the secrets key of this installation")]
    Sealed(Uuid),
}

/// Seals the token of a subscription. The change stores it.
pub fn seal(
    key: &SecretsKey,
    subscription: Uuid,
    token: &SecretString,
) -> Result<CiphertextChange, SigningKeyError> {
    key.seal_text(subscription, NAME, token)
}

/// The change that deletes the token of a subscription.
pub fn delete() -> CiphertextChange {
    CiphertextChange::Delete { name: NAME.to_owned() }
}

/// All sealed tokens, each with its subscription. For the doctor.
pub async fn all_sealed(executor: impl PgExecutor<'_>) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    ciphertexts::all_named(executor, Kind::WebhookSubscription, NAME).await
}

/// Opens the sealed token of a subscription.
pub fn open(key: &SecretsKey, subscription: Uuid, ciphertext: &[u8]) -> Result<SecretString, TokenError> {
    key.open_text(subscription, ciphertext).ok_or(TokenError::Sealed(subscription))
}
