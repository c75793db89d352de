//! A minimal registry of vault secrets: references, and who may use them. Contract, section 10.4. Admins only.

use std::collections::HashMap;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::vault_secret::{Command as SecretCommand, Registration};
use identity_domain::{Command, Kind};
use identity_log::recorded::timestamp;
use identity_log::{Committed, ids};
use identity_projections::identities;
use identity_projections::vault_access::{self, AccessRule};
use identity_projections::vault_secrets::{self, Row};
use serde::Serialize;
use uuid::Uuid;

use super::json;
use crate::caller::{Admin, Caller, Segments, uuid_segment};
use crate::conditional::{expected_version, unless_known};
use crate::error::ApiError;
use crate::form::{Body, Form, choice, filled_text, text, uuid};
use crate::reply::{Answer, Done, Reply, Source};

#[derive(Debug, Serialize)]
struct SecretBody<'a> {
    id: Uuid,
    name: &'a str,
    secret_type: &'a str,
    description: Option<&'a str>,
    access: Vec<RuleBody>,
    created_at: String,
    updated_at: String,
}

impl<'a> SecretBody<'a> {
    fn of(row: &'a Row, access: Vec<RuleBody>) -> Self {
        Self {
            id: row.id,
            name: &row.name,
            secret_type: &row.secret_type,
            description: row.description.as_deref(),
            access,
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.created_at),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
struct RuleBody {
    id: Uuid,
    vault_secret_id: Uuid,
    identity_id: Uuid,
    created_at: String,
}

impl From<&AccessRule> for RuleBody {
    fn from(rule: &AccessRule) -> Self {
        Self {
            id: rule.access_id,
            vault_secret_id: rule.vault_secret_id,
            identity_id: rule.identity_id,
            created_at: timestamp(rule.created_at),
        }
    }
}

/// `GET /vault/secrets`: newest first, each with its access rules.
#[utoipa::path(
    get,
    path = "/api/v1/vault/secrets",
    tag = "Vault",
    summary = "List vault secrets",
    description = "Newest first.",
    responses((status = 200, description = "The secrets", body = Vec<crate::openapi::schemas::VaultSecret>)),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-None-Match"], "errors": []}))),
)]
pub(crate) async fn list_secrets(Admin(caller): Admin, headers: HeaderMap) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || secrets(&caller).await).await
}

async fn secrets(caller: &Caller) -> Result<Response, ApiError> {
    let secrets = vault_secrets::list(caller.pool(), caller.organization_id()).await?;
    let ids: Vec<Uuid> = secrets.iter().map(|secret| secret.id).collect();
    let mut rules: HashMap<Uuid, Vec<RuleBody>> = HashMap::new();
    for rule in &vault_access::list(caller.pool(), &ids).await? {
        rules.entry(rule.vault_secret_id).or_default().push(rule.into());
    }
    let bodies =
        secrets.iter().map(|secret| SecretBody::of(secret, rules.remove(&secret.id).unwrap_or_default()));
    json(StatusCode::OK, &bodies.collect::<Vec<_>>())
}

/// `POST /vault/secrets`: 201 with the reference. Whatever else a client sends, such as an encrypted payload, is not
/// kept: the secret itself lives elsewhere.
#[utoipa::path(
    post,
    path = "/api/v1/vault/secrets",
    tag = "Vault",
    summary = "Register a vault secret",
    description = "A reference: the secret itself lives elsewhere, and is not kept if it is sent.",
    responses((status = 201, description = "The secret", body = crate::openapi::schemas::VaultSecret)),
    extensions(("x-about" = json!({"key": "admin", "parameters": [], "errors": ["vault_secret_exists"], "body": "RegisterVaultSecret"}))),
)]
pub(crate) async fn register_secret(Admin(caller): Admin, body: Body) -> Result<Response, ApiError> {
    let mut form = Form::parse(&body)?;
    let name = form.required("name", filled_text(255));
    let secret_type = form.lenient("secret_type", choice).unwrap_or_default();
    let description = form.lenient("description", text(caller.settings().longest_description));
    let registration = Registration { name: form.finish(name)?, secret_type, description };
    let id = ids::mint();
    caller.write(id, Command::VaultSecret(SecretCommand::Register(registration)), None, Registered).await
}

/// Answers with the reference; nobody has access to it yet.
struct Registered;

#[async_trait]
impl Reply for Registered {
    async fn compose(&self, _: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let secret = vault_secrets::registered(&committed.events);
        let secret = secret.ok_or_else(ApiError::vault_secret_not_found)?;
        Answer::json(StatusCode::CREATED, &SecretBody::of(&secret, vec![]))
    }
}

async fn find(caller: &Caller, id: Uuid) -> Result<Row, ApiError> {
    let found = vault_secrets::find(caller.pool(), caller.organization_id(), id).await?;
    found.ok_or_else(ApiError::vault_secret_not_found)
}

/// `DELETE /vault/secrets/{id}`: 204; all access to it ends.
#[utoipa::path(
    delete,
    path = "/api/v1/vault/secrets/{secret_id}",
    tag = "Vault",
    summary = "Delete a vault secret",
    description = "All access to it ends.",
    responses((status = 204, description = "Done")),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-Match"], "errors": ["vault_secret_not_found"]}))),
)]
pub(crate) async fn delete_secret(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Row { id, .. } = find(&caller, uuid_segment("secret_id", &id)?).await?;
    let expected = caller.expected_version(&headers, Kind::VaultSecret, id).await?;
    caller.write(id, Command::VaultSecret(SecretCommand::Delete), expected, Done).await
}

/// `GET /vault/secrets/{id}/access`: oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/vault/secrets/{secret_id}/access",
    tag = "Vault",
    summary = "List who may use a vault secret",
    description = "Oldest first.",
    responses((status = 200, description = "The rules", body = Vec<crate::openapi::schemas::VaultAccessRule>)),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-None-Match"], "errors": ["vault_secret_not_found"]}))),
)]
pub(crate) async fn list_access_rules(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?;
    unless_known(&caller, &headers, async || {
        let rules = vault_access::list(caller.pool(), &[secret.id]).await?;
        json(StatusCode::OK, &rules.iter().map(RuleBody::from).collect::<Vec<_>>())
    })
    .await
}

/// `POST /vault/secrets/{id}/access`: 201 with the rule.
#[utoipa::path(
    post,
    path = "/api/v1/vault/secrets/{secret_id}/access",
    tag = "Vault",
    summary = "Let an identity use a vault secret",
    description = "",
    responses((status = 201, description = "The rule", body = crate::openapi::schemas::VaultAccessRule)),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-Match"], "errors": ["vault_secret_not_found", "identity_not_found", "vault_access_exists"], "body": "GrantVaultAccess"}))),
)]
pub(crate) async fn grant_secret_access(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?;
    let mut form = Form::parse(&body)?;
    let identity = form.required("identity_id", uuid);
    let identity = form.finish(identity)?;
    let expected = expected_of_identity(&caller, &headers, identity).await?;
    let command = IdentityCommand::GrantVaultAccess { vault_secret_id: secret.id };
    caller
        .write(identity, Command::Identity(command), expected, Granted { secret: secret.id, identity })
        .await
}

/// The version of an identity that a write to its rules expects, since the rules are a part of it. One that is not there
/// has none; whoever writes to it is told just that.
async fn expected_of_identity(
    caller: &Caller,
    headers: &HeaderMap,
    identity: Uuid,
) -> Result<Option<i64>, ApiError> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let present = identities::row(caller.pool(), caller.organization_id(), identity).await?;
    present.map_or(Ok(None), |present| expected_version(headers, &present))
}

/// Answers with the rule.
struct Granted {
    secret: Uuid,
    identity: Uuid,
}

#[async_trait]
impl Reply for Granted {
    async fn compose(&self, _: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let rule = vault_access::granted(&committed.events, self.secret, self.identity);
        let rule = rule.ok_or_else(ApiError::vault_secret_not_found)?;
        Answer::json(StatusCode::CREATED, &RuleBody::from(&rule))
    }
}

/// `DELETE /vault/secrets/{id}/access/{identity_id}`: 204.
#[utoipa::path(
    delete,
    path = "/api/v1/vault/secrets/{secret_id}/access/{identity_id}",
    tag = "Vault",
    summary = "Let an identity use a vault secret no more",
    description = "",
    responses((status = 204, description = "Done")),
    extensions(("x-about" = json!({"key": "admin", "parameters": ["If-Match"], "errors": ["vault_secret_not_found", "identity_not_found", "vault_access_not_found"]}))),
)]
pub(crate) async fn revoke_secret_access(
    Admin(caller): Admin,
    Segments((id, identity)): Segments<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?;
    let identity = uuid_segment("identity_id", &identity)?;
    let expected = expected_of_identity(&caller, &headers, identity).await?;
    let command = IdentityCommand::RevokeVaultAccess { vault_secret_id: secret.id };
    caller.write(identity, Command::Identity(command), expected, Done).await
}
