//! A minimal registry of vault secrets: references, and who may use them. Contract, section 10.4. Admins only.

use std::collections::HashMap;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::vault_secret::{Command as SecretCommand, Registration};
use identity_domain::{Command, Kind};
use identity_log::{Committed, ids};
use identity_projections::bodies::{VaultAccessRule, VaultSecret};
use identity_projections::identities;
use identity_projections::vault_access;
use identity_projections::vault_secrets::{self, Row};
use uuid::Uuid;

use super::identity_forms::DESCRIPTION;
use super::json as answer;
use crate::caller::{Admin, AppSettings, Caller, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::{expected_version, unless_known};
use crate::error::ApiError;
use crate::form::reader::{choice, filled_text, text, uuid};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::reply::{Answer, Done, Reply, Source};

/// List vault secrets
///
/// Newest first.
#[utoipa::path(get, path = "/api/v1/vault/secrets", tag = "Vault",
    responses((status = 200, description = "The secrets", body = Vec<VaultSecret<'static>>)))]
pub(crate) async fn list_secrets(
    Admin(caller): Admin,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    unless_known(&caller, &headers, async || secrets(&caller).await).await
}

async fn secrets(caller: &Caller) -> Result<Response, ApiError> {
    let secrets = vault_secrets::list(caller.pool(), caller.organization_id()).await?;
    let ids: Vec<Uuid> = secrets.iter().map(|secret| secret.id).collect();
    let mut rules: HashMap<Uuid, Vec<VaultAccessRule>> = HashMap::new();
    for rule in &vault_access::list(caller.pool(), &ids).await? {
        rules.entry(rule.vault_secret_id).or_default().push(rule.into());
    }
    let bodies =
        secrets.iter().map(|secret| VaultSecret::of(secret, rules.remove(&secret.id).unwrap_or_default()));
    answer(StatusCode::OK, &bodies.collect::<Vec<_>>())
}

/// Register a vault secret
///
/// A reference: the secret itself lives elsewhere, and is not kept if it is sent.
#[utoipa::path(post, path = "/api/v1/vault/secrets", tag = "Vault",
    responses((status = 201, description = "The secret", body = VaultSecret<'static>)),
    extensions(("x-errors" = json!([Code::VaultSecretExists]))))]
pub(crate) async fn register_secret(
    Admin(caller): Admin,
    body: Sent<Registration>,
) -> Result<Response, ApiError> {
    let registration = body.read(caller.settings())?;
    let id = ids::mint();
    caller.write(id, Command::VaultSecret(SecretCommand::Register(registration)), None, Registered).await
}

impl ReadForm for Registration {
    const NAME: &'static str = "RegisterVaultSecret";
    const EXAMPLE: &'static str = r#"{ "name": "mail relay", "secret_type": "login" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let name = form.required("name", "What it is called", filled_text(255));
        let about = "What it holds; `other` if absent";
        let secret_type = form.lenient("secret_type", about, choice()).unwrap_or_default();
        let description = form.lenient("description", DESCRIPTION, text(settings.longest_description));
        Some(Self { name: name?, secret_type, description })
    }
}

/// Answers with the reference; nobody has access to it yet.
struct Registered;

#[async_trait]
impl Reply for Registered {
    async fn compose(&self, _: Source<'_>, committed: &Committed) -> Result<Answer, ApiError> {
        let secret = vault_secrets::registered(&committed.events);
        let secret = secret.ok_or_else(ApiError::vault_secret_not_found)?;
        Answer::json(StatusCode::CREATED, &VaultSecret::of(&secret, vec![]))
    }
}

async fn find(caller: &Caller, id: Uuid) -> Result<Row, ApiError> {
    let found = vault_secrets::find(caller.pool(), caller.organization_id(), id).await?;
    found.ok_or_else(ApiError::vault_secret_not_found)
}

/// Delete a vault secret
///
/// All access to it ends.
#[utoipa::path(delete, path = "/api/v1/vault/secrets/{secret_id}", tag = "Vault",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound]))))]
pub(crate) async fn delete_secret(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let Row { id, .. } = find(&caller, uuid_segment("secret_id", &id)?).await?;
    let expected = caller.expected_version(&headers, Kind::VaultSecret, id).await?;
    caller.write(id, Command::VaultSecret(SecretCommand::Delete), expected, Done).await
}

/// List who may use a vault secret
///
/// Oldest first.
#[utoipa::path(get, path = "/api/v1/vault/secrets/{secret_id}/access", tag = "Vault",
    responses((status = 200, description = "The rules", body = Vec<VaultAccessRule>)),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound]))))]
pub(crate) async fn list_access_rules(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?;
    unless_known(&caller, &headers, async || {
        let rules = vault_access::list(caller.pool(), &[secret.id]).await?;
        answer(StatusCode::OK, &rules.iter().map(VaultAccessRule::from).collect::<Vec<_>>())
    })
    .await
}

/// Let an identity use a vault secret
#[utoipa::path(post, path = "/api/v1/vault/secrets/{secret_id}/access", tag = "Vault",
    responses((status = 201, description = "The rule", body = VaultAccessRule)),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound, Code::IdentityNotFound, Code::VaultAccessExists]))))]
pub(crate) async fn grant_secret_access(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<GrantForm>,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?;
    let GrantForm { identity } = body.read(caller.settings())?;
    let expected = expected_of_identity(&caller, &headers, identity).await?;
    let command = IdentityCommand::GrantVaultAccess { vault_secret_id: secret.id };
    caller
        .write(identity, Command::Identity(command), expected, Granted { secret: secret.id, identity })
        .await
}

/// Body of `POST …/access`.
#[derive(Debug)]
pub(crate) struct GrantForm {
    identity: Uuid,
}

impl ReadForm for GrantForm {
    const NAME: &'static str = "GrantVaultAccess";
    const EXAMPLE: &'static str = r#"{ "identity_id": "0b0f6a3e-5c1b-4d0e-9b1a-6f0c2f1d9a01" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        Some(Self { identity: form.required("identity_id", "Who may use it", uuid())? })
    }
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
        Answer::json(StatusCode::CREATED, &VaultAccessRule::from(&rule))
    }
}

/// Let an identity use a vault secret no more
#[utoipa::path(delete, path = "/api/v1/vault/secrets/{secret_id}/access/{identity_id}", tag = "Vault",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound, Code::IdentityNotFound, Code::VaultAccessNotFound]))))]
pub(crate) async fn revoke_secret_access(
    Admin(caller): Admin,
    Segments((id, identity)): Segments<(String, String)>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?;
    let identity = uuid_segment("identity_id", &identity)?;
    let expected = expected_of_identity(&caller, &headers, identity).await?;
    let command = IdentityCommand::RevokeVaultAccess { vault_secret_id: secret.id };
    caller.write(identity, Command::Identity(command), expected, Done).await
}
