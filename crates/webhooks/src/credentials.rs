//! What a delivery is signed with, and the token that it carries.

use std::fmt;

use identity_domain::Kind;
use identity_log::signing_keys::{self, SecretsKey, SigningKey, SigningKeyError};
use identity_log::webhook_tokens::{self, TokenError};
use secrecy::SecretString;
use sqlx::FromRow;
use uuid::Uuid;

/// Both as the database has them.
///
/// They are read in one statement with the address of the subscription. A token is for the address for which it was set, and the
/// two change together.
#[derive(Clone, FromRow)]
pub(crate) struct Sealed {
    sealed_key: Option<Vec<u8>>,
    sealed_token: Option<Vec<u8>>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealed")
    }
}

/// Why they are not at hand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    /// The identity has no signing key.
    #[error("identity {0} has no signing key")]
    NoKey(Uuid),
    /// The signing key does not open.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The token does not open.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Both in the clear.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) key: SigningKey,
    pub(crate) token: Option<SecretString>,
}

impl Sealed {
    /// SQL of the columns, from SQL of the ids of the identity and of the subscription.
    pub(crate) fn columns(identity: &str, subscription: &str) -> String {
        let ciphertext = |kind: Kind, id: &str, name: &str| {
            format!(
                "(select ciphertext from ciphertexts
                  where aggregate_type = '{}' and aggregate_id = {id}::text and name = '{name}')",
                kind.as_str()
            )
        };
        let key = ciphertext(Kind::Identity, identity, signing_keys::NAME);
        let token = ciphertext(Kind::WebhookSubscription, subscription, webhook_tokens::NAME);
        format!("{key} as sealed_key, {token} as sealed_token")
    }

    pub(crate) fn open(
        &self,
        secrets: &SecretsKey,
        identity: Uuid,
        subscription: Uuid,
    ) -> Result<Credentials, CredentialsError> {
        let key = self.sealed_key.as_deref().ok_or(CredentialsError::NoKey(identity))?;
        let key = secrets.open(identity, key)?;
        let token = self.sealed_token.as_deref();
        let token = token.map(|token| webhook_tokens::open(secrets, subscription, token)).transpose()?;
        Ok(Credentials { key, token })
    }
}
