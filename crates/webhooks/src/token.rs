//! The tokens of subscriptions, for whoever delivers to them.

use identity_domain::Kind;
use identity_log::signing_keys::SecretsKey;
use identity_log::webhook_tokens::{self, TokenError};
use secrecy::SecretString;
use sqlx::PgExecutor;
use uuid::Uuid;

/// The token of a subscription for its address.
pub(crate) enum Token {
    /// This one, or none.
    Present(Option<SecretString>),
    /// The subscription has another address by now, or has ended. Its token is not for the address that was asked for.
    Moved,
}

/// The token that a subscription has for `url`. One statement reads the address and the token, which change together.
pub(crate) async fn find(
    executor: impl PgExecutor<'_>,
    key: &SecretsKey,
    subscription: Uuid,
    url: &str,
) -> Result<Token, TokenError> {
    let found: Option<Option<Vec<u8>>> = sqlx::query_scalar(
        "select (select ciphertext from ciphertexts where aggregate_type = $3 and aggregate_id = $1::text and name = $4)
         from read_model.webhook_subscriptions
         where id = $1 and url = $2 and status = 'active'",
    )
    .bind(subscription)
    .bind(url)
    .bind(Kind::WebhookSubscription.as_str())
    .bind(webhook_tokens::NAME)
    .fetch_optional(executor)
    .await?;
    let Some(sealed) = found else { return Ok(Token::Moved) };
    let token = sealed.map(|sealed| webhook_tokens::open(key, subscription, &sealed)).transpose()?;
    Ok(Token::Present(token))
}
