//! The machine codes of errors: one table, from which the OpenAPI document is made and which docs/errors.md repeats.
//!
//! A code never changes its meaning and never goes away; clients decide by it.

use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! codes {
    ($($name:ident = $text:literal, $status:ident, $meaning:literal;)*) => {
        /// The machine code of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $name,)*
        }

        impl Code {
            /// Every code that a client can meet.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as clients see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status of answers with it.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// When an answer has it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }
        }
    };
}

codes! {
    BodyUnreadable = "body_unreadable", BAD_REQUEST, "the connection broke while the body was read, or a chunk of it is malformed";
    HostRequired = "host_required", BAD_REQUEST, "a request of HTTP/1.1 has no `Host`, or more than one, or `Host` is no host";
    Unauthorized = "unauthorized", UNAUTHORIZED, "no key, or none that is valid; which of these is not said";
    Forbidden = "forbidden", FORBIDDEN, "the key is valid, but may not do this; `detail` says who may";
    NotFound = "not_found", NOT_FOUND, "nothing is served at this path";
    IdentityNotFound = "identity_not_found", NOT_FOUND, "no such identity, or none that this key may see";
    PhoneNumberNotFound = "phone_number_not_found", NOT_FOUND, "no such phone number, or none of this key's; or the identity has none";
    TunnelNotFound = "tunnel_not_found", NOT_FOUND, "no such tunnel, or none of this key's";
    MailboxNotFound = "mailbox_not_found", NOT_FOUND, "no such mailbox, or none of this key's";
    ApiKeyNotFound = "api_key_not_found", NOT_FOUND, "no such API key in the organization";
    VaultSecretNotFound = "vault_secret_not_found", NOT_FOUND, "no such vault secret in the organization";
    VaultNotInitialized = "vault_not_initialized", NOT_FOUND, "the organization has no vault yet";
    VaultKeyNotFound = "vault_key_not_found", NOT_FOUND, "no vault key has this hash, or the key was deleted";
    VaultAccessNotFound = "vault_access_not_found", NOT_FOUND, "the identity has no access to this vault secret";
    ImessageNumberNotFound = "imessage_number_not_found", NOT_FOUND, "no such dedicated iMessage number in the organization";
    WebhookSubscriptionNotFound = "webhook_subscription_not_found", NOT_FOUND, "no such webhook subscription, or none of this key's";
    WebhookDeliveryNotFound = "webhook_delivery_not_found", NOT_FOUND, "no such delivery of a webhook, or none of this key's; or it is not kept any more";
    LogEndpointNotFound = "log_endpoint_not_found", NOT_FOUND, "no such log endpoint in the organization";
    NoPhoneNumberAvailable = "no_phone_number_available", NOT_FOUND, "the pool has no free phone number, or none of this state";
    ViewerNotFound = "viewer_not_found", NOT_FOUND, "the viewer is no live identity of the organization";
    AccessNotFound = "access_not_found", NOT_FOUND, "this viewer was not granted access";
    NotSigned = "not_signed", NOT_FOUND, "no signed checkpoint covers what is asked for yet, or none ever will";
    BeforeHistory = "before_history", NOT_FOUND, "the organization has no history at that moment";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "this path serves other methods; `Allow` names them";
    AgentHandleUnavailable = "agent_handle_unavailable", CONFLICT, "the handle is taken, reserved or on hold; `blocking_namespace` says in which namespace";
    RedundantGrant = "redundant_grant", CONFLICT, "everybody sees the identity already; revoke access first to narrow it";
    AccessAlreadyGranted = "access_already_granted", CONFLICT, "this viewer was granted access before";
    PhoneNumberExists = "phone_number_exists", CONFLICT, "the identity has a phone number";
    VaultAccessExists = "vault_access_exists", CONFLICT, "the identity has access to this vault secret";
    SigningKeyOfNobody = "signing_key_of_nobody", CONFLICT, "an admin's key is bound to no identity: create the signing key at `/api/v1/identities/{agent_handle}/signing-key`";
    IdempotencyKeyReused = "idempotency_key_reused", CONFLICT, "the `Idempotency-Key` was used for another request";
    IdempotencyInProgress = "idempotency_in_progress", CONFLICT, "a request with this `Idempotency-Key` is being answered; come again after `Retry-After`";
    HistoryChanged = "history_changed", CONFLICT, "the history is not the one that the cursor was made for, since a backup was restored; read it again from the beginning";
    ApiKeyEnded = "api_key_ended", CONFLICT, "the API key was revoked, or has expired, or its identity is deleted; issue another";
    VaultSecretExists = "vault_secret_exists", CONFLICT, "the id of the new vault secret is in use; choose another";
    VaultExists = "vault_exists", CONFLICT, "the vault of the organization is initialized already";
    VaultKeyExists = "vault_key_exists", CONFLICT, "the id of the new vault key is in use; choose another";
    WebhookSubscriptionGone = "webhook_subscription_gone", CONFLICT, "the webhook subscription of the delivery was deleted, or nothing is sent to it at present";
    LastVaultKey = "last_vault_key", CONFLICT, "this is the last key of the vault; without it nothing would open the vault";
    BodyTooSlow = "body_too_slow", REQUEST_TIMEOUT, "the client took too long to send the body";
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "`If-Match` names a version that is no longer there; `ETag` has the present one";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB";
    ValidationFailed = "validation_failed", UNPROCESSABLE_ENTITY, "the request is understood and not valid; every fault is listed with its place";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "the key, its organization or the address has sent more requests than it may; come again after `Retry-After`";
    ShareUsedUp = "share_used_up", TOO_MANY_REQUESTS, "the key, its organization or the address has as many requests, streams or bodies at the same time as it may; come again after `Retry-After`";
    QuotaUsedUp = "quota_used_up", TOO_MANY_REQUESTS, "a daily quota of an identity, a key or an organization is used up; `detail` says which; come again after `Retry-After`";
    TooManyWebhooks = "webhook_limit_reached", TOO_MANY_REQUESTS, "the owner has as many active webhook subscriptions as it may have, or the organization as many as it may; `detail` says which; delete one first";
    InternalError = "internal_error", INTERNAL_SERVER_ERROR, "a defect of the service; its log says more under the request id";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Postgres cannot be reached, does not answer or is too busy, or no standby confirms that it is still the primary; nothing was written, and nothing will be; come again after `Retry-After`";
    OutcomeUnknown = "outcome_unknown", SERVICE_UNAVAILABLE, "Postgres did not confirm a write in time: it may have been carried out; look before you send it again, or send it with the same `Idempotency-Key`";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "the service is answering as many requests as it may at the same time; come again after `Retry-After`";
    NotReady = "not_ready", SERVICE_UNAVAILABLE, "the readiness probe: the database cannot be reached, or is not as it should be";
    Preparing = "preparing", SERVICE_UNAVAILABLE, "a read model is being rebuilt before the service answers; `detail` says how far it is";
    LogRefused = "log_refused", SERVICE_UNAVAILABLE, "the log differs from what was signed; nothing is proved until the operator has dealt with that";
    ImessageInventoryPending = "dedicated_imessage_number_inventory_pending", SERVICE_UNAVAILABLE, "no dedicated iMessage number of this type is available yet";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        let codes = Self::ALL.iter().map(|code| code.as_str());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).into()
    }
}

impl ToSchema for Code {}

#[cfg(test)]
mod tests {
    use super::Code;

    const DOCUMENT: &str = include_str!("../../../docs/errors.md");

    #[test]
    fn the_table_of_the_documents_is_this_one() {
        let documented: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| `")).collect();
        let defined: Vec<String> = Code::ALL
            .iter()
            .map(|code| format!("| `{}` | {} | {} |", code.as_str(), code.status().as_u16(), code.meaning()))
            .collect();
        assert_eq!(documented, defined);
    }
}
