//! Secrets of the vault, and who may use them. Contract, sections 10.4 and 10.5. Admins write; an agent reads the
//! secrets that it may use.

mod kept;
pub(crate) mod keys;
mod listing;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::vault_secret::{Command as SecretCommand, Registration, SecretType, Update};
use identity_domain::{Command, Kind};
use identity_log::ciphertexts::CiphertextChange;
use identity_log::{Committed, ids, read};
use identity_projections::bodies::{VaultAccessRule, VaultSecret, VaultSecretDetail};
use identity_projections::identities;
use identity_projections::vault_access;
use identity_projections::vault_secrets::shown::{self, CONTENT, Filter, RULE_BYTES};
use identity_projections::vault_secrets::{self, Row};
use identity_projections::versioned::Versioned;
use uuid::Uuid;

use self::kept::{base64, sha256};
use super::identity_forms::DESCRIPTION;
use super::json as answer;
use crate::caller::{Admin, AppSettings, Caller, Segments, uuid_segment};
use crate::code::Code;
use crate::conditional::{unless_current, unless_known};
use crate::error::ApiError;
use crate::fault::Fault;
use crate::form::reader::{choice, filled_text, text, uuid};
use crate::form::{Form, ReadForm, Sent};
use crate::headers::{IfMatch, IfNoneMatch};
use crate::parameters::{self, Parameters, Query, ReadQuery};
use crate::precondition::expected_version;
use crate::reply::{Answer, Done, Reply, made};
use crate::revision::Revision;

/// The longest content, in characters of base64.
const LONGEST_CONTENT: usize = 65_536;

/// List vault secrets
///
/// Newest first, without their content. An agent sees the secrets that it may use, with its own access rules only.
#[utoipa::path(get, path = "/api/v1/vault/secrets", tag = "Vault",
    responses((status = 200, description = "The secrets", body = Vec<VaultSecret<'static>>)))]
pub(crate) async fn list_secrets(
    caller: Caller,
    query: Query<SecretQuery>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let SecretQuery(wanted) = query.read()?;
    let filter = Filter { secret_type: wanted, with_content: false };
    unless_known(&caller, &headers, async || listing::answer(&caller, filter, "[".to_owned(), "]").await)
        .await
}

/// The parameters of the list.
#[derive(Debug)]
pub(crate) struct SecretQuery(Option<SecretType>);

impl ReadQuery for SecretQuery {
    fn read(parameters: &mut Parameters) -> Self {
        parameters.keep(&["secret_type"]);
        Self(parameters.one("secret_type", "Only those of this type", parameters::choice()))
    }
}

/// Get a vault secret
///
/// With its content, as its client encrypted it.
#[utoipa::path(get, path = "/api/v1/vault/secrets/{secret_id}", tag = "Vault",
    responses((status = 200, description = "The secret", body = VaultSecretDetail<'static>)),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound]))))]
pub(crate) async fn get_secret(
    caller: Caller,
    Segments(id): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let id = uuid_segment("secret_id", &id)?;
    let (pool, organization_id) = (caller.pool().await, caller.organization_id());
    let found = shown::find(pool, organization_id, &caller.viewer(), id).await?;
    let found = found.ok_or_else(ApiError::vault_secret_not_found)?;
    caller.turn_for(found.row.rules.len() * RULE_BYTES).await;
    let body = serde_json::to_string(&listing::detail(&found.row))?;
    Ok(unless_current(&headers, Revision::of(id, &found), body))
}

/// Create a vault secret
///
/// With content that the client has encrypted, or as a reference to a secret that is kept elsewhere.
#[utoipa::path(post, path = "/api/v1/vault/secrets", tag = "Vault",
    responses((status = 201, description = "The secret", body = VaultSecret<'static>)),
    extensions(("x-errors" = json!([Code::VaultSecretExists]))))]
pub(crate) async fn register_secret(
    Admin(caller): Admin,
    body: Sent<NewSecret>,
) -> Result<Response, ApiError> {
    let NewSecret { id, registration, content } = body.read(caller.settings())?;
    let id = match id {
        Some(id) => free_id(&caller, id).await?,
        None => ids::mint(),
    };
    let content_sha256 = content.as_deref().map(sha256);
    let command = Command::VaultSecret(SecretCommand::Register { registration, content_sha256 });
    caller.write_with(id, command, stored(content), None, Registered).await
}

/// An id that a client has chosen, unless it is that of something else. No other id can be chosen, so it stays free.
async fn free_id(caller: &Caller, id: Uuid) -> Result<Uuid, ApiError> {
    let (pool, organization_id) = (caller.pool().await, caller.organization_id());
    if read::is_id_of_another_type(pool, organization_id, Kind::VaultSecret, &id.to_string()).await? {
        return Err(ApiError::invalid(vec![Fault::value(
            "id",
            "Input should not be the id of something else",
        )]));
    }
    Ok(id)
}

/// The change that stores content, if there is any.
fn stored(content: Option<String>) -> Vec<CiphertextChange> {
    let put =
        |content: String| CiphertextChange::Put { name: CONTENT.to_owned(), ciphertext: content.into() };
    content.into_iter().map(put).collect()
}

/// Body of `POST /vault/secrets`.
#[derive(Debug)]
pub(crate) struct NewSecret {
    id: Option<Uuid>,
    registration: Registration,
    content: Option<String>,
}

impl ReadForm for NewSecret {
    const NAME: &'static str = "RegisterVaultSecret";
    const EXAMPLE: &'static str = r#"{ "name": "mail relay", "secret_type": "login" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let name = form.required("name", "What it is called", filled_text(255));
        let about = "What it holds; `other` if absent";
        let secret_type = form.lenient("secret_type", about, choice()).unwrap_or_default();
        let description = form.lenient("description", DESCRIPTION, text(settings.longest_description));
        let about = "Its id, if the client has to know it before; a new one if absent";
        let id = form.lenient("id", about, uuid());
        let content = form.lenient("encrypted_payload", ABOUT_CONTENT, base64(LONGEST_CONTENT));
        Some(Self { id, registration: Registration { name: name?, secret_type, description }, content })
    }
}

const ABOUT_CONTENT: &str = "Its content, encrypted by the client, in base64";

/// Answers with the new secret. No identity has access to it yet.
struct Registered;

impl Reply for Registered {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        Answer::json(StatusCode::CREATED, &VaultSecret::of(made(committed)?, vec![]))
    }
}

async fn find(caller: &Caller, id: Uuid) -> Result<Versioned<Row>, ApiError> {
    let found =
        vault_secrets::find(caller.pool().await, caller.organization_id(), &caller.viewer(), id).await?;
    found.ok_or_else(ApiError::vault_secret_not_found)
}

/// Change a vault secret
///
/// Absent fields stay unchanged. The type never changes.
#[utoipa::path(patch, path = "/api/v1/vault/secrets/{secret_id}", tag = "Vault",
    responses((status = 200, description = "The secret", body = VaultSecret<'static>)),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound]))))]
pub(crate) async fn update_secret(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<ChangedSecret>,
) -> Result<Response, ApiError> {
    let id = uuid_segment("secret_id", &id)?;
    let found = find(&caller, id).await?;
    let ChangedSecret { update, content } = body.read(caller.settings())?;
    let expected = expected_version(&headers, Revision::of(id, &found))?;
    let rules = rules(&caller, id).await?;
    caller.admission().expect_answer(rules.len() * RULE_BYTES)?;
    let command = Command::VaultSecret(SecretCommand::Update(update));
    caller.write_with(id, command, stored(content), expected, Changed { rules }).await
}

/// Body of `PATCH /vault/secrets/{secret_id}`.
#[derive(Debug)]
pub(crate) struct ChangedSecret {
    update: Update,
    content: Option<String>,
}

impl ReadForm for ChangedSecret {
    const NAME: &'static str = "UpdateVaultSecret";
    const EXAMPLE: &'static str = r#"{ "name": "mail relay, old" }"#;

    fn read(form: &mut Form, settings: &AppSettings) -> Option<Self> {
        let name = form.optional("name", "What it is called", filled_text(255));
        let description = form.nullable("description", DESCRIPTION, text(settings.longest_description));
        let content = form.lenient("encrypted_payload", ABOUT_CONTENT, base64(LONGEST_CONTENT));
        let content_sha256 = content.as_deref().map(sha256);
        Some(Self { update: Update { name, description, content_sha256 }, content })
    }
}

/// Answers with the secret.
struct Changed {
    rules: Vec<VaultAccessRule>,
}

impl Reply for Changed {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        Answer::json(StatusCode::OK, &VaultSecret::of(made(committed)?, self.rules.clone()))
    }
}

/// The access rules of a secret, as far as the caller may see them.
async fn rules(caller: &Caller, id: Uuid) -> Result<Vec<VaultAccessRule>, ApiError> {
    let rules = vault_access::list(caller.pool().await, &caller.viewer(), id).await?;
    caller.turn_for(rules.len() * RULE_BYTES).await;
    Ok(rules.iter().map(VaultAccessRule::from).collect())
}

/// Delete a vault secret
///
/// All access to it ends, and its content is deleted.
#[utoipa::path(delete, path = "/api/v1/vault/secrets/{secret_id}", tag = "Vault",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound]))))]
pub(crate) async fn delete_secret(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let id = uuid_segment("secret_id", &id)?;
    let expected = expected_version(&headers, Revision::of(id, &find(&caller, id).await?))?;
    caller.write(id, Command::VaultSecret(SecretCommand::Delete), expected, Done).await
}

/// List who may use a vault secret
///
/// Oldest first. An agent is shown its own rule.
#[utoipa::path(get, path = "/api/v1/vault/secrets/{secret_id}/access", tag = "Vault",
    responses((status = 200, description = "The rules", body = Vec<VaultAccessRule>)),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound]))))]
pub(crate) async fn list_access_rules(
    caller: Caller,
    Segments(id): Segments<String>,
    IfNoneMatch(headers): IfNoneMatch,
) -> Result<Response, ApiError> {
    let id = uuid_segment("secret_id", &id)?;
    find(&caller, id).await?;
    unless_known(&caller, &headers, async || answer(StatusCode::OK, &rules(&caller, id).await?)).await
}

/// Grant an identity access to a vault secret
#[utoipa::path(post, path = "/api/v1/vault/secrets/{secret_id}/access", tag = "Vault",
    responses((status = 201, description = "The rule", body = VaultAccessRule)),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound, Code::IdentityNotFound, Code::VaultAccessExists]))))]
pub(crate) async fn grant_secret_access(
    Admin(caller): Admin,
    Segments(id): Segments<String>,
    IfMatch(headers): IfMatch,
    body: Sent<GrantForm>,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?.row;
    let GrantForm { identity } = body.read(caller.settings())?;
    let expected = expected_of_identity(&caller, &headers, identity).await?;
    let command = IdentityCommand::GrantVaultAccess { vault_secret_id: secret.id };
    caller
        .write(
            identity,
            Command::Identity(command),
            expected,
            AccessRuleReply { secret: secret.id, identity },
        )
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

/// The version of an identity that a write to its access rules expects: the rules are a part of the identity. If the
/// identity does not exist there is none, and the command is refused as not found.
async fn expected_of_identity(
    caller: &Caller,
    headers: &HeaderMap,
    identity: Uuid,
) -> Result<Option<i64>, ApiError> {
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(None);
    }
    let present = identities::row(caller.pool().await, caller.organization_id(), identity).await?;
    present.map_or(Ok(None), |present| expected_version(headers, &present))
}

/// Answers with the rule.
struct AccessRuleReply {
    secret: Uuid,
    identity: Uuid,
}

impl Reply for AccessRuleReply {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let rule = vault_access::granted(&committed.events, self.secret, self.identity);
        let rule = rule.ok_or_else(ApiError::vault_secret_not_found)?;
        Answer::json(StatusCode::CREATED, &VaultAccessRule::from(&rule))
    }
}

/// Revoke access to a vault secret
#[utoipa::path(delete, path = "/api/v1/vault/secrets/{secret_id}/access/{identity_id}", tag = "Vault",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::VaultSecretNotFound, Code::IdentityNotFound, Code::VaultAccessNotFound]))))]
pub(crate) async fn revoke_secret_access(
    Admin(caller): Admin,
    Segments((id, identity)): Segments<(String, String)>,
    IfMatch(headers): IfMatch,
) -> Result<Response, ApiError> {
    let secret = find(&caller, uuid_segment("secret_id", &id)?).await?.row;
    let identity = uuid_segment("identity_id", &identity)?;
    let expected = expected_of_identity(&caller, &headers, identity).await?;
    let command = IdentityCommand::RevokeVaultAccess { vault_secret_id: secret.id };
    caller.write(identity, Command::Identity(command), expected, Done).await
}
