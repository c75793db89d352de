//! Ciphertexts that are not there although the log says that they were stored and not deleted. Somebody has deleted their rows by
//! hand: the service deletes a ciphertext in the transaction of the event that says so.

use identity_domain::Kind;
use identity_log::{signing_keys, webhook_tokens};
use sqlx::{FromRow, PgExecutor};

use crate::vault_secrets::shown::CONTENT;

/// A ciphertext that is lost.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LostCiphertext {
    /// The type of its aggregate.
    pub aggregate_type: String,
    /// The aggregate.
    pub aggregate_id: String,
    /// Its name.
    pub name: String,
}

/// SQL of [`find`]. Only if a ciphertext is not there, the other events of its aggregate are read.
const LOST: &str = "
    with stored as (
        select aggregate_type, aggregate_id, stored.name, sequence
        from events
        cross join lateral (
            select $2 where event_type = 'identity.signing_key_set'
            union all
            select $3 where event_type = 'vault_secret.content_set'
            union all
            select key->>'id' from jsonb_array_elements(payload->'keys') as key where event_type = 'vault.initialized'
            union all
            select payload->'key'->>'id' where event_type = 'vault.primary_key_replaced'
        ) as stored (name)
        where position > $1
          and event_type in ('identity.signing_key_set', 'vault_secret.content_set', 'vault.initialized', 'vault.primary_key_replaced')
        union all
        select $4, id::text, $5, 0 from read_model.webhook_subscriptions where has_auth_token
    )
    select distinct aggregate_type, aggregate_id, name
    from stored
    where not exists (select from ciphertexts as present
                      where present.aggregate_type = stored.aggregate_type and present.aggregate_id = stored.aggregate_id
                        and present.name = stored.name)
      and not exists (select from events as later
                      where later.aggregate_type = stored.aggregate_type and later.aggregate_id = stored.aggregate_id
                        and later.sequence > stored.sequence
                        and (event_type in ('identity.deleted', 'vault_secret.deleted')
                             or event_type = 'vault.key_deleted' and payload->>'key_id' = stored.name
                             or event_type = 'vault.primary_key_replaced' and payload->'replaced' ? stored.name))
    order by aggregate_type, aggregate_id, name";

/// The ciphertexts that are lost of those that were stored by events after a position, and of all tokens of webhooks.
pub async fn find(executor: impl PgExecutor<'_>, after: i64) -> Result<Vec<LostCiphertext>, sqlx::Error> {
    sqlx::query_as(LOST)
        .bind(after)
        .bind(signing_keys::NAME)
        .bind(CONTENT)
        .bind(Kind::WebhookSubscription.as_str())
        .bind(webhook_tokens::NAME)
        .fetch_all(executor)
        .await
}
