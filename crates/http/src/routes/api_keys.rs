//! API keys. Contract, section 9, and D12.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::api_key::{Command as KeyCommand, Issue, MAX_OVERLAP, Rotate, Scope};
use identity_domain::{Command, Moment};
use identity_log::{Committed, ids};
use identity_projections::api_keys::{self, KeyScope, ListedKey};
use identity_projections::bodies::{ApiKey, CreatedApiKey};
use identity_projections::identities::listing::ListPlace;
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::interruption::Interruption;
use super::json as answer;
use super::pieces::{self, Entries, FEW_ROWS};
use crate::api_key::{Secret, parse_public_id, public_id};
use crate::caller::{Admin, AppSettings, Caller, Holder, Segments};
use crate::clock;
use crate::code::Code;
use crate::conditional::unless_same;
use crate::error::ApiError;
use crate::form::reader::{choice, filled_text, moment, text, uuid, whole_number};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::reply::{Answer, Done, Reply, made};

/// Create an API key
///
/// An agent key, which is bound to an identity, or an auditor key.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "API keys",
    responses((status = 201, description = "The key, whose text is shown this once", body = CreatedApiKey<'static>)),
    extensions(("x-errors" = json!([Code::IdentityNotFound]))))]
pub(crate) async fn create_api_key(Admin(caller): Admin, body: Sent<NewKey>) -> Result<Response, ApiError> {
    let NewKey { label, description, scope, identity_id, expires_at } = body.read(caller.settings())?;
    let scope = allowed_scope(scope, identity_id)?;
    let secret = new_secret()?;
    let issue = Issue {
        label,
        description,
        scope,
        secret_sha256: secret.sha256(),
        last4: secret.last4(),
        created_by: caller.actor().id(),
        expires_at,
    };
    let id = ids::mint_random();
    let command = KeyCommand::Issue(Box::new(issue));
    let reply = KeyReply { id, secret, status: StatusCode::CREATED };
    caller.write(id, Command::ApiKey(command), None, reply).await
}

/// Rotate an API key
///
/// The key gets a new secret, which is valid at once. The secret that it had stays valid until the overlap ends; an older one ends
/// at once.
/// Rotating another admin key is answered 403, and so is `expires_at` for the key that asks.
#[utoipa::path(post, path = "/api/v1/api-keys/{api_key_id}/rotate", tag = "API keys",
    responses((status = 200, description = "The key, whose new secret is shown this once", body = CreatedApiKey<'static>)),
    extensions(("x-errors" = json!([Code::ApiKeyNotFound, Code::ApiKeyEnded]))))]
pub(crate) async fn rotate_api_key(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<Rotation>,
) -> Result<Response, ApiError> {
    let id = parse_public_id(&id).ok_or_else(ApiError::api_key_not_found)?;
    let Rotation { overlap, expires_at } = body.read(caller.settings())?;
    check_rotation(&caller, id, expires_at.is_some()).await?;
    let expected = caller.expected_version_of_key(&headers, id).await?;
    let secret = new_secret()?;
    let by = (id == caller.key.id).then(|| caller.secret_sha256());
    let rotate = Rotate { secret_sha256: secret.sha256(), last4: secret.last4(), by, overlap, expires_at };
    let command = Command::ApiKey(KeyCommand::Rotate(Box::new(rotate)));
    caller.write(id, command, expected, KeyReply { id, secret, status: StatusCode::OK }).await
}

/// Refuses a rotation that the caller may not make. An admin may rotate the keys that it may issue and its own key, but
/// may not change the expiry of its own.
async fn check_rotation(caller: &Caller, id: Uuid, changes_expiry: bool) -> Result<(), ApiError> {
    let key = api_keys::find(caller.pool().await, id).await?;
    let key = key.filter(|key| key.organization_id == caller.organization_id());
    let key = key.ok_or_else(ApiError::api_key_not_found)?;
    if key.scope == KeyScope::Admin && key.id != caller.key.id {
        return Err(ApiError::forbidden("An API key may not rotate another admin-scoped API key"));
    }
    if key.id == caller.key.id && changes_expiry {
        return Err(ApiError::forbidden("An API key may not change its own expiry"));
    }
    let is_active = !api_keys::find_active(caller.pool().await, &[id]).await?.is_empty();
    if is_active { Ok(()) } else { Err(ApiError::api_key_ended()) }
}

fn new_secret() -> Result<Secret, ApiError> {
    Secret::generate().map_err(|error| ApiError::internal(error.to_string()))
}

/// Answers with a key. Its text is shown once: a repetition of the request gets the record, and a message in place of
/// the text.
struct KeyReply {
    id: Uuid,
    secret: Secret,
    status: StatusCode,
}

impl Reply for KeyReply {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let row = made::<api_keys::Row>(committed)?;
        let body = CreatedApiKey {
            api_key: None,
            record: ApiKey::of(row, public_id(row.id), None, false),
            message: Some("The key was shown in the first answer, and is not shown again"),
        };
        Answer::json(self.status, &body)
    }

    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        answer.revealing("api_key", &self.secret.key_text(self.id))
    }
}

/// Body of `POST /api-keys`. Contract, section 9.
#[derive(Debug)]
pub(crate) struct NewKey {
    label: String,
    description: Option<String>,
    scope: Option<RequestedScope>,
    identity_id: Option<Uuid>,
    expires_at: Option<Moment>,
}

/// The scope that a request asks for. Clients that do not know scopes leave it out and name an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RequestedScope {
    Admin,
    Agent,
    Auditor,
}

impl ReadForm for NewKey {
    const NAME: &'static str = "CreateApiKey";
    const EXAMPLE: &'static str =
        r#"{ "label": "night watch", "scoped_identity_id": "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let label = form.required("label", "What it is called", filled_text(255));
        let description = form.lenient("description", "What it is for", text(1000));
        let about = "`agent` if absent. `auditor` reads history, webhook subscriptions and log endpoints, and changes nothing. `admin` is answered 403: only the \
            operator issues admin keys";
        let scope = form.lenient("scope", about, choice());
        let about = "The identity that an agent's key acts as; 403 without one";
        let identity_id = form.lenient("scoped_identity_id", about, uuid());
        let message = "An auditor-scoped API key is not bound to an identity";
        form.excludes(("scope", "auditor"), "scoped_identity_id", message);
        let about = "When it expires: in the future, and within ten years; never if absent";
        let expires_at = form.lenient("expires_at", about, moment());
        Some(Self { label: label?, description, scope, identity_id, expires_at })
    }
}

/// How long the previous secret of a key stays valid after a rotation by default.
const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// Body of `POST /api-keys/{api_key_id}/rotate`. Contract, section 9.
#[derive(Debug)]
pub(crate) struct Rotation {
    overlap: Duration,
    expires_at: Option<Moment>,
}

impl ReadForm for Rotation {
    const NAME: &'static str = "RotateApiKey";
    const EXAMPLE: &'static str = r#"{ "overlap_seconds": 3600 }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let about = "Seconds for which the previous secret of the key stays valid; 86400 if absent";
        let overlap = form.lenient("overlap_seconds", about, whole_number(MAX_OVERLAP.as_secs()));
        let about =
            "When the key expires from now on: in the future, and within ten years; unchanged if absent";
        let expires_at = form.lenient("expires_at", about, moment());
        Some(Self { overlap: overlap.map_or(DEFAULT_OVERLAP, Duration::from_secs), expires_at })
    }
}

/// Only the operator issues admin keys.
fn allowed_scope(requested: Option<RequestedScope>, identity_id: Option<Uuid>) -> Result<Scope, ApiError> {
    match (requested, identity_id) {
        (Some(RequestedScope::Auditor), _) => Ok(Scope::Auditor),
        (None | Some(RequestedScope::Agent), Some(identity_id)) => Ok(Scope::Agent { identity_id }),
        (None | Some(RequestedScope::Agent), None) | (Some(RequestedScope::Admin), _) => {
            Err(ApiError::forbidden(
                "An API key may only issue keys that are scoped to an identity or to auditing",
            ))
        }
    }
}

/// List API keys
///
/// Revoked and expired ones included, newest first.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "API keys",
    responses((status = 200, description = "The keys", body = Vec<ApiKey<'static>>)))]
pub(crate) async fn list_api_keys(
    Admin(caller): Admin,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let (pool, organization_id) = (caller.pool().await.clone(), caller.organization_id().to_owned());
    let keys = Keys { pool, organization_id, now: clock::now(), after: None };
    // A key expires and is used without an event, so the history does not tell whether the list has changed.
    unless_same(&headers, pieces::list(keys, "[".to_owned(), "]", &caller).await?).await
}

/// The keys of an organization, while they are read.
struct Keys {
    pool: PgPool,
    organization_id: String,
    now: Moment,
    after: Option<ListPlace>,
}

impl Entries for Keys {
    async fn next(&mut self, limit: u32) -> Result<(Vec<String>, bool), Interruption> {
        let Self { pool, organization_id, now, after } = self;
        let limit = limit.min(FEW_ROWS);
        let keys = api_keys::list(&*pool, organization_id, *after, limit.into()).await?;
        *after = keys.last().map(|key| ListPlace { created_at: key.row.created_at, id: key.row.id });
        let is_last = keys.len() < limit as usize;
        let body = |key: &ListedKey| {
            let body = ApiKey::of(&key.row, public_id(key.row.id), key.last_used_at, key.is_ended(*now));
            serde_json::to_string(&body)
        };
        Ok((keys.iter().map(body).collect::<Result<_, _>>()?, is_last))
    }
}

/// Get the caller's API key
#[utoipa::path(get, path = "/api/v1/api-keys/self", tag = "API keys",
    responses((status = 200, description = "The key", body = ApiKey<'static>)))]
pub(crate) async fn get_own_api_key(holder: Holder) -> Result<Response, ApiError> {
    let last_used_at = holder.last_used_at().await?;
    answer(StatusCode::OK, &ApiKey::of(holder.key(), public_id(holder.key().id), last_used_at, false))
}

/// Revoke an API key
///
/// It takes effect at once. To revoke a revoked key again changes nothing, and is answered 204, too.
#[utoipa::path(delete, path = "/api/v1/api-keys/{api_key_id}", tag = "API keys",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::ApiKeyNotFound]))))]
pub(crate) async fn revoke_api_key(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let id = parse_public_id(&id).ok_or_else(ApiError::api_key_not_found)?;
    let expected = caller.expected_version_of_key(&headers, id).await?;
    caller.write(id, Command::ApiKey(KeyCommand::Revoke), expected, Done).await
}
