//! Keys. Contract, section 9, and D12.

use async_trait::async_trait;
use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::api_key::{Command as KeyCommand, Issue, Scope};
use identity_domain::{Command, Kind};
use identity_log::{Committed, ids};
use identity_projections::api_keys;
use identity_projections::bodies::{ApiKey, CreatedApiKey};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::json as answer;
use crate::api_key::{Secret, parse_public_id, public_id};
use crate::caller::{Admin, AppSettings, Holder, Segments};
use crate::code::Code;
use crate::conditional::unless_known;
use crate::error::ApiError;
use crate::form::reader::{choice, filled_text, text, uuid};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::reply::{Answer, Done, Reply, Source};

/// Create an API key
///
/// For an identity, or for auditing.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "API keys",
    responses((status = 201, description = "The key, whose text is shown this once", body = CreatedApiKey<'static>)),
    extensions(("x-errors" = json!([Code::IdentityNotFound, Code::ApiKeyExists]))))]
pub(crate) async fn create_api_key(Admin(caller): Admin, body: Sent<NewKey>) -> Result<Response, ApiError> {
    let NewKey { label, description, scope, identity_id } = body.read(caller.settings())?;
    let scope = allowed_scope(scope, identity_id)?;
    let secret = Secret::generate().map_err(|error| ApiError::internal(error.to_string()))?;
    let issue = Issue {
        label,
        description,
        scope,
        secret_sha256: secret.sha256(),
        last4: secret.last4(),
        created_by: caller.actor().id(),
    };
    let id = ids::mint_random();
    let command = KeyCommand::Issue(Box::new(issue));
    caller.write(id, Command::ApiKey(command), None, Issued { id, secret }).await
}

/// Answers with a key. Its text is shown once: whoever repeats the request gets the record, and is told why no more.
struct Issued {
    id: Uuid,
    secret: Secret,
}

#[async_trait]
impl Reply for Issued {
    async fn compose(&self, _: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let row = api_keys::issued(&committed.events).ok_or_else(ApiError::api_key_not_found)?;
        let notice = "The key was shown when it was issued, and is not shown again";
        let body = CreatedApiKey {
            api_key: None,
            record: ApiKey::of(&row, public_id(row.id), false),
            message: Some(notice),
        };
        Answer::json(StatusCode::CREATED, &body)
    }

    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        let mut body: Value = serde_json::from_str(answer.body())?;
        let record = body.get_mut("record").map(Value::take);
        Answer::json(
            StatusCode::CREATED,
            &json!({ "api_key": self.secret.key_text(self.id), "record": record }),
        )
    }
}

/// Body of `POST /api-keys`. Contract, section 9.
#[derive(Debug)]
pub(crate) struct NewKey {
    label: String,
    description: Option<String>,
    scope: Option<RequestedScope>,
    identity_id: Option<Uuid>,
}

/// What a key is asked for. Clients that know nothing of scopes leave it out and name an identity.
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
        let about = "`agent` if absent. `auditor` reads history, and nothing else. `admin` is answered 403: admin keys come from \
            the operator alone";
        let scope = form.lenient("scope", about, choice());
        let about = "The identity that an agent's key acts as; 403 without one";
        let identity_id = form.lenient("scoped_identity_id", about, uuid());
        let message = "An auditor-scoped API key is not bound to an identity";
        form.excludes(("scope", "auditor"), "scoped_identity_id", message);
        Some(Self { label: label?, description, scope, identity_id })
    }
}

/// Admin keys come from the operator alone.
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
/// Revoked ones included, newest first.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "API keys",
    responses((status = 200, description = "The keys", body = Vec<ApiKey<'static>>)))]
pub(crate) async fn list_api_keys(
    Admin(caller): Admin,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || {
        let keys = api_keys::list(caller.pool(), caller.organization_id()).await?;
        answer(
            StatusCode::OK,
            &keys
                .iter()
                .map(|key| ApiKey::of(&key.row, public_id(key.row.id), key.is_orphaned()))
                .collect::<Vec<_>>(),
        )
    })
    .await
}

/// Get the API key that asks
#[utoipa::path(get, path = "/api/v1/api-keys/self", tag = "API keys",
    responses((status = 200, description = "The key", body = ApiKey<'static>)))]
pub(crate) async fn get_own_api_key(holder: Holder) -> Result<Response, ApiError> {
    answer(StatusCode::OK, &ApiKey::of(holder.key(), public_id(holder.key().id), false))
}

/// Revoke an API key
///
/// At once; again if it was revoked before.
#[utoipa::path(delete, path = "/api/v1/api-keys/{api_key_id}", tag = "API keys",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::ApiKeyNotFound]))))]
pub(crate) async fn revoke_api_key(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let id = parse_public_id(&id).ok_or_else(ApiError::api_key_not_found)?;
    let expected = caller.expected_version(&headers, Kind::ApiKey, id).await?;
    caller.write(id, Command::ApiKey(KeyCommand::Revoke), expected, Done).await
}
