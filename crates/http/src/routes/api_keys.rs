//! Keys. Contract, section 9, and D12.

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use identity_domain::api_key::{Command as KeyCommand, Issue, Scope};
use identity_domain::{Command, Kind};
use identity_log::recorded::timestamp;
use identity_log::{Committed, ids};
use identity_projections::api_keys::{self, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::json as answer;
use crate::api_key::{Secret, parse_public_id, public_id};
use crate::caller::{Admin, Holder, Segments};
use crate::conditional::unless_known;
use crate::error::ApiError;
use crate::form::{Body, Form, choice, filled_text, text, uuid};
use crate::reply::{Answer, Done, Reply, Source};

/// A key as clients see it: everything but its secret.
#[derive(Debug, Serialize)]
pub(crate) struct KeyRecord<'a> {
    id: String,
    organization_id: &'a str,
    created_by: &'a str,
    creator_type: &'static str,
    scope: &'static str,
    scoped_identity_id: Option<Uuid>,
    label: &'a str,
    description: Option<&'a str>,
    status: &'static str,
    last4: &'a str,
    display_prefix: String,
    last_used_at: Option<()>,
    expires_at: Option<()>,
    revoked_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl<'a> KeyRecord<'a> {
    /// A key whose identity is gone is as revoked as one that was ended by itself; when that was, its identity's
    /// history says.
    fn of(row: &'a Row, orphaned: bool) -> Self {
        let id = public_id(row.id);
        Self {
            display_prefix: id.chars().take("ApiKey_".len() + 8).collect(),
            id,
            organization_id: &row.organization_id,
            created_by: &row.created_by,
            creator_type: "human",
            scope: row.scope.as_str(),
            scoped_identity_id: row.identity_id,
            label: &row.label,
            description: row.description.as_deref(),
            status: if orphaned || row.revoked_at.is_some() { "revoked" } else { "active" },
            last4: &row.last4,
            last_used_at: None,
            expires_at: None,
            revoked_at: row.revoked_at.map(timestamp),
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.revoked_at.unwrap_or(row.created_at)),
        }
    }
}

#[derive(Debug, Serialize)]
struct CreatedKey {
    api_key: String,
    record: Option<Value>,
}

/// `POST /api-keys`: 201 with the key's text, which is never shown again.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    tag = "API keys",
    summary = "Create an API key",
    description = "For an identity, or for auditing.",
    responses((status = 201, description = "The key, whose text is shown this once", body = crate::openapi::schemas::CreatedApiKey)),
    extensions(("x-about" = json!({"key": "admin", "parameters": [], "errors": ["identity_not_found", "api_key_exists"], "body": "CreateApiKey"}))),
)]
pub(crate) async fn create_api_key(Admin(caller): Admin, body: Body) -> Result<Response, ApiError> {
    let mut form = Form::parse(&body)?;
    let label = form.required("label", filled_text(255));
    let description = form.lenient("description", text(1000));
    let wanted = form.lenient("scope", choice::<WantedScope>);
    let identity_id = form.lenient("scoped_identity_id", uuid);
    if wanted == Some(WantedScope::Auditor) && identity_id.is_some() {
        form.refuse("scoped_identity_id", "An auditor-scoped API key is not bound to an identity");
    }
    let label = form.finish(label)?;
    let scope = scope(wanted, identity_id)?;
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
        let body = json!({ "api_key": null, "record": KeyRecord::of(&row, false), "message": notice });
        Answer::json(StatusCode::CREATED, &body)
    }

    fn reveal(&self, answer: Answer) -> Result<Answer, ApiError> {
        let mut body: Value = serde_json::from_str(answer.body())?;
        let record = body.get_mut("record").map(Value::take);
        Answer::json(StatusCode::CREATED, &CreatedKey { api_key: self.secret.key_text(self.id), record })
    }
}

/// What a key is asked for. Clients that know nothing of scopes leave it out and name an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WantedScope {
    Admin,
    Agent,
    Auditor,
}

/// Admin keys come from the operator alone.
fn scope(wanted: Option<WantedScope>, identity_id: Option<Uuid>) -> Result<Scope, ApiError> {
    match (wanted, identity_id) {
        (Some(WantedScope::Auditor), _) => Ok(Scope::Auditor),
        (None | Some(WantedScope::Agent), Some(identity_id)) => Ok(Scope::Agent { identity_id }),
        (None | Some(WantedScope::Agent), None) | (Some(WantedScope::Admin), _) => Err(ApiError::forbidden(
            "An API key may only issue keys that are scoped to an identity or to auditing",
        )),
    }
}

/// `GET /api-keys`: every key of the organization, ended ones included, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    tag = "API keys",
    summary = "List API keys",
    description = "Revoked ones included, newest first.",
    responses((status = 200, description = "The keys", body = Vec<crate::openapi::schemas::ApiKey>)),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-None-Match"], "errors": []}))),
)]
pub(crate) async fn list_api_keys(Admin(caller): Admin, headers: HeaderMap) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || {
        let keys = api_keys::list(caller.pool(), caller.organization_id()).await?;
        answer(
            StatusCode::OK,
            &keys.iter().map(|key| KeyRecord::of(&key.row, key.is_orphaned())).collect::<Vec<_>>(),
        )
    })
    .await
}

/// `GET /api-keys/self`: the key that asks.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys/self",
    tag = "API keys",
    summary = "Get the API key that asks",
    description = "",
    responses((status = 200, description = "The key", body = crate::openapi::schemas::ApiKey)),
    extensions(("x-about" = json!({"key": "any", "parameters": [], "errors": []}))),
)]
pub(crate) async fn get_own_api_key(holder: Holder) -> Result<Response, ApiError> {
    answer(StatusCode::OK, &KeyRecord::of(holder.key(), false))
}

/// `DELETE /api-keys/{id}`: 204; ended at once, and again if it was ended before.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{api_key_id}",
    tag = "API keys",
    summary = "Revoke an API key",
    description = "At once; again if it was revoked before.",
    responses((status = 204, description = "Done")),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-Match"], "errors": ["api_key_not_found"]}))),
)]
pub(crate) async fn revoke_api_key(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = parse_public_id(&id).ok_or_else(ApiError::api_key_not_found)?;
    let expected = caller.expected_version(&headers, Kind::ApiKey, id).await?;
    caller.write(id, Command::ApiKey(KeyCommand::Revoke), expected, Done).await
}
