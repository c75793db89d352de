//! Every way a request can fail, and what the client is told. Contract, section 0.5. `problem.rs` writes the two forms of a body.
//! The seconds of `Retry-After` are set where an error is made; for limits they are computed in `limits/buckets.rs`.

mod conversions;
pub(crate) mod detail;

use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use identity_log::idempotency::NotComposed;
use identity_log::proof::Refusal;
use serde_json::json;

use self::detail::Detail;
use crate::code::Code;
use crate::fault::{Complaint, Fault, MAX_FAULTS};
use crate::readiness::{NotReady, Preparation};
use crate::revision::Revision;
use crate::unserved;

/// The header of every 401: how to authenticate. RFC 9110, section 15.5.2.
const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"identityd\", header=\"X-API-Key\"");

/// A failed request: its status, a machine code that never changes, and `detail` as clients know it. It is boxed
/// because nearly every function of this crate has it as its error type, and an error is rare.
#[derive(Debug)]
pub struct ApiError(Box<Failure>);

#[derive(Debug)]
struct Failure {
    code: Code,
    detail: Detail,
    retry_after_seconds: Option<u32>,
    entity_tag: Option<String>,
    cause: Option<String>,
    /// The write was done before, under its `Idempotency-Key`. The stored answer is sent instead of this error.
    is_repetition: bool,
}

/// Defines errors that always have the same code and text.
macro_rules! plain_errors {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $detail:literal;)*) => {
        impl ApiError {
            $($(#[$doc])* pub fn $name() -> Self { Self::new(Code::$code, $detail) })*
        }
    };
}

plain_errors! {
    /// No key, or an invalid one. The client is not told which.
    unauthorized = Unauthorized, "Missing or invalid API key";
    /// The identity does not exist, was deleted, is another organization's, or may not be seen. The client is not told
    /// which.
    identity_not_found = IdentityNotFound, "Identity not found";
    /// No such number, or not the caller's.
    phone_number_not_found = PhoneNumberNotFound, "Phone number not found";
    /// No such tunnel, or not the caller's.
    tunnel_not_found = TunnelNotFound, "Tunnel not found";
    /// No such mailbox, or not the caller's.
    mailbox_not_found = MailboxNotFound, "Mailbox not found";
    /// No such key in the organization.
    api_key_not_found = ApiKeyNotFound, "API key not found";
    /// The key was revoked or has expired, so it cannot be rotated.
    api_key_ended = ApiKeyEnded, "The API key was revoked or has expired, or its identity was deleted";
    /// No such secret in the organization.
    vault_secret_not_found = VaultSecretNotFound, "Vault secret not found";
    /// No such subscription, or not the caller's.
    webhook_subscription_not_found = WebhookSubscriptionNotFound, "Webhook subscription not found";
    /// No such delivery, or not the caller's, or it was deleted after its retention.
    webhook_delivery_not_found = WebhookDeliveryNotFound, "Webhook delivery not found";
    /// Nothing can be sent to the subscription of a delivery.
    webhook_subscription_gone = WebhookSubscriptionGone, "The webhook subscription was deleted or is disabled";
    /// No such log endpoint in the organization.
    log_endpoint_not_found = LogEndpointNotFound, "Log endpoint not found";
    /// The organization has as many log endpoints as it may have.
    too_many_log_endpoints = TooManyWebhooks, "The organization has as many log endpoints as it may have: 16";
    /// The organization has no vault yet.
    vault_not_initialized = VaultNotInitialized, "Vault not initialized";
    /// No vault key has this hash.
    vault_key_not_found = VaultKeyNotFound, "Vault key not found";
    /// There is no dedicated iMessage number that could be attached (D24).
    imessage_number_not_found = ImessageNumberNotFound, "iMessage number not found";
    /// An admin's key is bound to no identity that could get a signing key.
    signing_key_of_nobody = SigningKeyOfNobody, "An admin-scoped API key is bound to no identity: use POST /api/v1/identities/{agent_handle}/signing-key";
    /// No signed checkpoint covers what is asked for.
    not_signed = NotSigned, "Not covered by a signed checkpoint";
    /// The organization did not exist at that moment.
    before_history = BeforeHistory, "The organization has no history at that moment";
    /// Nothing is served there (D20).
    unknown_route = NotFound, "Not Found";
    /// Something is served there, but not for this method (D20).
    method_not_allowed = MethodNotAllowed, "Method Not Allowed";
    /// The body is larger than 1 MiB.
    body_too_large = BodyTooLarge, "Request body is larger than 1 MiB";
    /// The connection broke, or was too slow, while the body was read.
    body_unreadable = BodyUnreadable, "Request body could not be read";
    /// RFC 9112, section 3.2.
    host_required = HostRequired, "HTTP/1.1 requires exactly one valid Host header";
    /// The client took too long to send the body.
    body_too_slow = BodyTooSlow, "Request body took too long to arrive";
}

impl ApiError {
    fn new(code: Code, detail: impl Into<Detail>) -> Self {
        let detail = detail.into();
        Self(Box::new(Failure {
            code,
            detail,
            retry_after_seconds: None,
            entity_tag: None,
            cause: None,
            is_repetition: false,
        }))
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    fn because(mut self, cause: String) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// Nothing is served at this path. If the hosted API serves something there, the text says that this service does
    /// not (D20).
    pub(crate) fn unserved(path: &str) -> Self {
        unserved::reason(path).map_or_else(Self::unknown_route, |reason| Self::new(Code::NotFound, reason))
    }

    /// The key is valid, but may not do this.
    pub fn forbidden(detail: &str) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    /// A dedicated iMessage number is asked for, and there is none (D24).
    pub(crate) fn imessage_inventory_pending(number_type: &str) -> Self {
        const RETRY_AFTER_SECONDS: u32 = 3600;
        let code = Code::ImessageInventoryPending;
        let detail = json!({
            "error": code.as_str(),
            "message": "No dedicated iMessage number of this type is available yet",
            "number_type": number_type,
            "retry_after_seconds": RETRY_AFTER_SECONDS,
        });
        Self::new(code, detail).retry_after(RETRY_AFTER_SECONDS)
    }

    /// The log differs from what was signed. Nothing is proved until the operator has dealt with that.
    fn log_refused(refusal: &Refusal) -> Self {
        const RETRY_AFTER_SECONDS: u32 = 60;
        let code = Code::LogRefused;
        let message = format!("The log is not signed any more: {refusal}");
        Self::new(code, json!({ "code": code.as_str(), "message": message })).retry_after(RETRY_AFTER_SECONDS)
    }

    /// 409: the place that a cursor names is not in the history any more.
    pub fn history_changed() -> Self {
        Self::new(
            Code::HistoryChanged,
            "This history is not the one that the cursor was made for: read it again from the beginning",
        )
    }

    /// `as_of` names a moment that has not passed yet.
    pub(crate) fn moment_to_come() -> Self {
        let complaint = Complaint::new("datetime_past", "Input should be in the past");
        Self::invalid(vec![Fault::parameter("as_of", complaint)])
    }

    /// The request is not valid. At most `MAX_FAULTS` faults are listed.
    pub fn invalid(mut faults: Vec<Fault>) -> Self {
        faults.truncate(MAX_FAULTS);
        Self::new(Code::ValidationFailed, Detail::Faults(faults))
    }

    fn invalid_field(field: &str, message: &str) -> Self {
        Self::invalid(vec![Fault::value(field, message)])
    }

    /// `If-Match` does not name the present version. The answer has the present one in `ETag`.
    pub(crate) fn precondition_failed(present: Revision) -> Self {
        let mut error = Self::new(Code::PreconditionFailed, "The resource has changed");
        error.0.entity_tag = Some(present.tag());
        error
    }

    /// The key was used for another request. Contract, section 3.4.
    pub fn idempotency_key_reused() -> Self {
        let code = Code::IdempotencyKeyReused;
        let message = "This Idempotency-Key was used for another request";
        Self::new(code, json!({ "error": code.as_str(), "message": message }))
    }

    /// A request with this key is being answered.
    pub fn idempotency_in_progress() -> Self {
        let code = Code::IdempotencyInProgress;
        let message = "A request with this Idempotency-Key is still in progress";
        Self::new(code, json!({ "error": code.as_str(), "message": message })).retry_after(1)
    }

    /// The write was done before, under its `Idempotency-Key`. The middleware `idempotency::replay` replaces this error
    /// by the stored answer.
    pub(crate) fn repetition() -> Self {
        let mut error = Self::idempotency_in_progress();
        error.0.is_repetition = true;
        error
    }

    /// Whether a response says that the write was done before.
    pub(crate) fn is_repetition(response: &Response) -> bool {
        response.extensions().get::<Arc<Self>>().is_some_and(|error| error.0.is_repetition)
    }

    /// Postgres cannot be reached, or is too busy. The request itself may be valid.
    pub fn unavailable(cause: &(dyn Error + 'static)) -> Self {
        let detail = "The service is temporarily unavailable, please retry";
        Self::new(Code::Unavailable, detail).retry_after(1).because(chain(cause))
    }

    /// Postgres refuses what it would accept if the database were as the migrations make it.
    pub(crate) fn database_altered(cause: &(dyn Error + 'static)) -> Self {
        let detail = "The database refuses this: something in it is not as this service made it. Nothing was written. The \
                      operator of the service can mend it";
        Self::new(Code::DatabaseAltered, detail).retry_after(10).because(chain(cause))
    }

    /// The service stopped waiting for a write that had been sent to Postgres. It may have been carried out.
    pub fn outcome_unknown(cause: &(dyn Error + 'static)) -> Self {
        let detail = "The write may have been carried out. Read the resource before you repeat it, or repeat it with the \
                      same Idempotency-Key";
        Self::new(Code::OutcomeUnknown, detail).retry_after(1).because(chain(cause))
    }

    /// The readiness probe fails. The text says why.
    pub(crate) fn not_ready(cause: &NotReady) -> Self {
        let detail = match cause {
            NotReady::Database(error) if error.as_database_error().is_some() => {
                "The database answers, but not as it should"
            }
            NotReady::Database(_) | NotReady::Timeout => "The database cannot be reached",
            NotReady::NoConnection(_) => {
                "Requests get no connection to the database: `identityd doctor` says more"
            }
            NotReady::Unconfirmed => "No standby confirms commits: this may not be the primary any more",
            NotReady::Unusable(why) => why,
            NotReady::Unwritable(error) if error.is_clock_jump() => {
                "The clock of the database has jumped ahead, so events cannot be written"
            }
            NotReady::Unwritable(_) => "Events cannot be written: `identityd doctor` says more",
            NotReady::NoCommitter => "This process cannot write any more: restart it",
        };
        Self::new(Code::NotReady, detail).retry_after(1).because(chain(cause))
    }

    /// A read model is being rebuilt before the service answers. The error says how far that is.
    pub fn preparing(preparation: &Preparation) -> Self {
        let Preparation { read_model, phase, done, total } = preparation;
        let detail = json!({
            "code": Code::Preparing.as_str(),
            "message": format!("The service is not ready yet, please retry: {preparation}"),
            "read_model": read_model,
            "phase": phase,
            "done": done,
            "total": total,
        });
        Self::new(Code::Preparing, detail).retry_after(1)
    }

    /// The key or its organization has sent more requests a minute than it may (D13).
    pub(crate) fn too_many_requests(seconds: u32) -> Self {
        Self::new(Code::RateLimited, "Too many requests, please retry later").retry_after(seconds)
    }

    /// The address has presented too many invalid keys.
    pub(crate) fn too_many_refused_keys(seconds: u32) -> Self {
        let detail = "Too many invalid API keys from this address, please retry later";
        Self::new(Code::RateLimited, detail).retry_after(seconds)
    }

    /// The key, its organization or the address has no share left.
    pub fn share_used_up() -> Self {
        let detail = "Too many requests, streams or bodies at the same time, please retry later";
        Self::new(Code::ShareUsedUp, detail).retry_after(1)
    }

    /// As many deliveries to the webhook subscription, or of its organization, are being sent again as may be.
    pub(crate) fn too_many_replays() -> Self {
        let detail = "Too many replays to the subscription or of the organization at the same time, please retry later";
        Self::new(Code::ShareUsedUp, detail).retry_after(1)
    }

    /// The budget for large writes of the key or of its organization is used up.
    pub(crate) fn bulk_budget_used_up(seconds: u32) -> Self {
        let detail = "This API key or its organization writes too much at present, please retry later";
        Self::new(Code::ShareUsedUp, detail).retry_after(seconds)
    }

    /// A daily quota is used up.
    pub fn quota_used_up(of_what: &str, seconds: u32) -> Self {
        let detail = format!("The daily quota of {of_what} is used up, please retry later");
        Self::new(Code::QuotaUsedUp, detail.as_str()).retry_after(seconds)
    }

    /// The key has tried to open the vault too often.
    pub(crate) fn too_many_vault_attempts(seconds: u32) -> Self {
        let detail = "Too many attempts to open the vault with this API key, please retry later";
        Self::new(Code::RateLimited, detail).retry_after(seconds)
    }

    /// The service is answering as many requests as it may at the same time.
    pub fn overloaded() -> Self {
        let detail = "The service is busy, please retry";
        Self::new(Code::Overloaded, detail).retry_after(1)
    }

    /// A defect of ours. The client learns nothing but the request id.
    pub fn internal(cause: String) -> Self {
        Self::new(Code::InternalError, "Internal server error").because(cause)
    }

    /// The machine code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The cause, for the log line. It is never sent to the client.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    pub(crate) fn detail(&self) -> &Detail {
        &self.0.detail
    }

    /// Headers that belong to the error, whatever form its body takes.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let tag = self.0.entity_tag.as_deref().and_then(|tag| HeaderValue::from_str(tag).ok());
        let retry_after = self.0.retry_after_seconds.map(HeaderValue::from);
        let challenge = (self.0.code == Code::Unauthorized).then_some(CHALLENGE);
        let named = [
            tag.map(|tag| (header::ETAG, tag)),
            retry_after.map(|after| (header::RETRY_AFTER, after)),
            challenge.map(|challenge| (header::WWW_AUTHENTICATE, challenge)),
        ];
        named.into_iter().flatten()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.cause.as_deref().unwrap_or(self.code().as_str()))
    }
}

impl Error for ApiError {}

/// If an answer cannot be composed, the transaction of its write fails.
impl From<ApiError> for NotComposed {
    fn from(error: ApiError) -> Self {
        Self(Box::new(error))
    }
}

/// The body is rendered in `around`, where the request id is known.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// An error with its chain of causes, for the log line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string does not fail.
        let _: Result<(), _> = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
