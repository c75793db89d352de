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
    Unauthorized = "unauthorized", UNAUTHORIZED, "the key is missing or not valid; the answer does not say which";
    Forbidden = "forbidden", FORBIDDEN, "the key is valid, but may not do this; `detail` says who may";
    NotFound = "not_found", NOT_FOUND, "nothing is served at this path";
    IdentityNotFound = "identity_not_found", NOT_FOUND, "the identity does not exist, or this key may not see it";
    PhoneNumberNotFound = "phone_number_not_found", NOT_FOUND, "the phone number does not exist, or this key may not see it; or the identity has none";
    TunnelNotFound = "tunnel_not_found", NOT_FOUND, "the tunnel does not exist, or this key may not see it";
    MailboxNotFound = "mailbox_not_found", NOT_FOUND, "the mailbox does not exist, or this key may not see it";
    ApiKeyNotFound = "api_key_not_found", NOT_FOUND, "the organization has no such API key";
    VaultSecretNotFound = "vault_secret_not_found", NOT_FOUND, "the organization has no such vault secret";
    VaultNotInitialized = "vault_not_initialized", NOT_FOUND, "the organization has no vault yet";
    VaultKeyNotFound = "vault_key_not_found", NOT_FOUND, "no vault key has this hash, or the key was deleted";
    VaultAccessNotFound = "vault_access_not_found", NOT_FOUND, "the identity has no access to this vault secret";
    ImessageNumberNotFound = "imessage_number_not_found", NOT_FOUND, "the organization has no such dedicated iMessage number";
    WebhookSubscriptionNotFound = "webhook_subscription_not_found", NOT_FOUND, "the webhook subscription does not exist, or this key may not see it";
    WebhookDeliveryNotFound = "webhook_delivery_not_found", NOT_FOUND, "the delivery of a webhook does not exist, is not kept any more, or this key may not see it";
    LogEndpointNotFound = "log_endpoint_not_found", NOT_FOUND, "the organization has no such log endpoint";
    NoPhoneNumberAvailable = "no_phone_number_available", NOT_FOUND, "the pool has no free phone number, or none of this state";
    ViewerNotFound = "viewer_not_found", NOT_FOUND, "the viewer does not exist in this organization, or was deleted";
    AccessNotFound = "access_not_found", NOT_FOUND, "this viewer was not granted access";
    NotSigned = "not_signed", NOT_FOUND, "no signed checkpoint covers what is asked for; new events are signed within seconds";
    BeforeHistory = "before_history", NOT_FOUND, "the organization has no history at that moment";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "this path serves other methods; `Allow` names them";
    AgentHandleUnavailable = "agent_handle_unavailable", CONFLICT, "the handle is taken, reserved or on hold; `blocking_namespace` says in which namespace";
    RedundantGrant = "redundant_grant", CONFLICT, "everybody sees the identity already; revoke access first to narrow it";
    AccessAlreadyGranted = "access_already_granted", CONFLICT, "this viewer was granted access before";
    PhoneNumberExists = "phone_number_exists", CONFLICT, "the identity has a phone number";
    VaultAccessExists = "vault_access_exists", CONFLICT, "the identity has access to this vault secret";
    SigningKeyOfNobody = "signing_key_of_nobody", CONFLICT, "an admin's key is bound to no identity: create the signing key at `/api/v1/identities/{agent_handle}/signing-key`";
    IdempotencyKeyReused = "idempotency_key_reused", CONFLICT, "the `Idempotency-Key` was used for another request";
    IdempotencyInProgress = "idempotency_in_progress", CONFLICT, "a request with this `Idempotency-Key` is being answered; try again after `Retry-After` seconds";
    HistoryChanged = "history_changed", CONFLICT, "the history is not the one that the cursor was made for: a backup was restored, or a failover lost events; read it again from the beginning";
    ApiKeyEnded = "api_key_ended", CONFLICT, "the API key was revoked, or has expired, or its identity is deleted; issue another";
    VaultSecretExists = "vault_secret_exists", CONFLICT, "the id of the new vault secret is in use; choose another";
    VaultExists = "vault_exists", CONFLICT, "the vault of the organization is initialized already";
    VaultKeyExists = "vault_key_exists", CONFLICT, "the id of the new vault key is in use; choose another";
    WebhookSubscriptionGone = "webhook_subscription_gone", CONFLICT, "the webhook subscription of the delivery was deleted, or nothing is sent to it at present";
    LastVaultKey = "last_vault_key", CONFLICT, "this is the last key of the vault; without it the vault could not be opened";
    BodyTooSlow = "body_too_slow", REQUEST_TIMEOUT, "the client took too long to send the body";
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "`If-Match` names a version that is no longer there; `ETag` has the present one";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB";
    ValidationFailed = "validation_failed", UNPROCESSABLE_ENTITY, "the request is understood and not valid; every fault is listed with its place";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "the key, its organization or the address has sent more requests than it may; try again after `Retry-After` seconds";
    ShareUsedUp = "share_used_up", TOO_MANY_REQUESTS, "the key, its organization or the address has as many simultaneous requests, streams or bodies as it may, or the webhook subscription or its organization as many replays, or the key or its organization has used up its budget for large writes, or does not read its large answers; try again after `Retry-After` seconds";
    QuotaUsedUp = "quota_used_up", TOO_MANY_REQUESTS, "a daily quota of an identity, a key or an organization is used up; `detail` says which; try again after `Retry-After` seconds";
    TooManyWebhooks = "webhook_limit_reached", TOO_MANY_REQUESTS, "the owner has as many active webhook subscriptions as it may have, or the organization as many as it may; `detail` says which; delete one first";
    InternalError = "internal_error", INTERNAL_SERVER_ERROR, "a defect of the service; its log says more under the request id";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Postgres cannot be reached, does not answer or is too busy, or no standby confirms that it is still the primary, or the memory of the signer does not answer; nothing was written, and nothing will be; try again after `Retry-After` seconds";
    DatabaseAltered = "database_altered", SERVICE_UNAVAILABLE, "Postgres refuses the statement because of something in the database that is not as the service made it, such as a constraint or a trigger of somebody else; nothing was written; `identityd doctor` names it";
    OutcomeUnknown = "outcome_unknown", SERVICE_UNAVAILABLE, "Postgres did not confirm a write in time, so it may have been carried out; read the resource before you repeat the write, or repeat it with the same `Idempotency-Key`";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "the service is answering as many simultaneous requests as it may; try again after `Retry-After` seconds";
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
