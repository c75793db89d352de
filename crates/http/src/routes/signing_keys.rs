//! The keys with which webhooks of identities are signed. Contract, section 10.2.

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::{Command, Kind};
use identity_log::recorded::timestamp;
use identity_log::signing_keys::{self, SigningKey};
use identity_log::{Committed, ciphertexts};
use identity_projections::bodies::{CreatedSigningKey, SigningKeyStatus};
use identity_projections::identities;
use uuid::Uuid;

use super::json as answer;
use super::webhooks::SHOWN_BEFORE;
use crate::caller::{Agent, Caller, Segments};
use crate::code::Code;
use crate::conditional::unless_current;
use crate::error::ApiError;
use crate::headers::{IfMatch, IfNoneMatch};
use crate::precondition::expected_version;
use crate::reply::{Answer, Reply};

/// Get the status of an identity's signing key
///
/// The key itself is never shown again.
#[utoipa::path(get, path = "/api/v1/identities/{agent_handle}/signing-key", tag = "Signing keys",
    responses((status = 200, description = "Whether there is one, and since when", body = SigningKeyStatus)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn get_signing_key(
    caller: Caller,
    Segments(handle): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let found = caller.find_own(&handle).await?;
    let status = SigningKeyStatus::of(&serde_json::from_str(&found.document)?);
    Ok(unless_current(&headers, &*found, serde_json::to_string(&status)?))
}

/// Create a signing key for an identity
///
/// It replaces the present one, if there is one. No body is read.
#[utoipa::path(post, path = "/api/v1/identities/{agent_handle}/signing-key", tag = "Signing keys",
    responses((status = 201, description = "The key, whose text is shown this once", body = CreatedSigningKey)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn create_signing_key(
    caller: Caller,
    Segments(handle): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let found = caller.find_own(&handle).await?;
    let expected = expected_version(&headers, &*found)?;
    create(&caller, found.id, expected).await
}

/// Get the status of the signing key
///
/// For older clients. An agent is told of its identity; an admin whether any identity has one, and when the newest was created.
#[utoipa::path(get, path = "/api/v1/signing-keys", tag = "Signing keys",
    responses((status = 200, description = "Whether there is one, and since when", body = SigningKeyStatus)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn get_any_signing_key(caller: Caller) -> Result<Response, ApiError> {
    let (pool, organization_id) = (caller.pool().await, caller.organization_id());
    let status = if let Some(identity) = caller.key.identity_id {
        let row = identities::row(pool, organization_id, identity).await?;
        SigningKeyStatus::of(&row.ok_or_else(ApiError::identity_not_found)?.document)
    } else {
        let newest = ciphertexts::newest(pool, organization_id, Kind::Identity, signing_keys::NAME).await?;
        SigningKeyStatus::since(newest.map(timestamp))
    };
    answer(StatusCode::OK, &status)
}

/// Create a signing key for the identity of an agent's key
///
/// For older clients. An admin's key is bound to no identity, so it is answered 409. No body is read.
#[utoipa::path(post, path = "/api/v1/signing-keys", tag = "Signing keys",
    responses((status = 201, description = "The key, whose text is shown this once", body = CreatedSigningKey)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn create_own_signing_key(Agent(caller, identity): Agent) -> Result<Response, ApiError> {
    create(&caller, identity, None).await
}

async fn create(caller: &Caller, identity: Uuid, expected: Option<i64>) -> Result<Response, ApiError> {
    let key = SigningKey::generate()?;
    let sealed = caller.secrets_key().seal(identity, &key)?;
    let command = IdentityCommand::SetSigningKey { secret_sha256: key.sha256() };
    caller.write_with(identity, Command::Identity(command), vec![sealed], expected, Created { key }).await
}

/// Answers with a key. Its text is shown once: a repetition of the request gets the answer without it.
struct Created {
    key: SigningKey,
}

impl Reply for Created {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let event = committed.events.last().ok_or_else(ApiError::identity_not_found)?;
        let body = CreatedSigningKey {
            signing_key: None,
            created_at: timestamp(event.recorded_at),
            message: Some(SHOWN_BEFORE),
        };
        Answer::json(StatusCode::CREATED, &body)
    }

    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        answer.revealing("signing_key", self.key.text())
    }
}
