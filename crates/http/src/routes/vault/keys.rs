//! The vault as a whole, and the keys that open it. Contract, section 10.5.

use axum::http::StatusCode;
use axum::response::Response;
use identity_domain::vault::{Command as VaultCommand, KeyType};
use identity_domain::{Command, Kind};
use identity_log::ciphertexts::CiphertextChange;
use identity_log::recorded::timestamp;
use identity_log::{Committed, ids, read};
use identity_projections::bodies::{InitializedVault, UnlockedVault, Vault, VaultKey};
use identity_projections::vault_secrets;
use identity_projections::vault_secrets::shown::Filter;
use uuid::Uuid;

use super::kept::{self, KeptKey, NewKey, auth_hash, auth_hash_parameter, new_key, new_keys, wrapped};
use super::listing;
use crate::caller::{Admin, AppSettings, Caller, Segments};
use crate::code::Code;
use crate::error::ApiError;
use crate::fault::{Complaint, Fault};
use crate::form::reader::uuid;
use crate::form::{Form, ReadForm, Sent};
use crate::parameters::{Parameters, Query, ReadQuery, choice};
use crate::reply::{Answer, Done, Reply};
use crate::routes::json as answer;

/// Get the vault
///
/// 404 if it was not initialized.
#[utoipa::path(get, path = "/api/v1/vault/info", tag = "Vault",
    responses((status = 200, description = "The vault", body = Vault<'static>)),
    extensions(("x-errors" = json!([Code::VaultNotInitialized]))))]
pub(crate) async fn get_vault(caller: Caller) -> Result<Response, ApiError> {
    let organization_id = caller.organization_id();
    let id = ids::of_vault(organization_id);
    // In one snapshot: how many keys there are, and when they last changed, belong together.
    let mut snapshot =
        caller.pool().await.begin_with("begin isolation level repeatable read read only").await?;
    let keys = kept::read(&mut *snapshot, organization_id).await?;
    let lifetime = read::lifetime(&mut *snapshot, organization_id, Kind::Vault, &id.to_string()).await?;
    let secret_count = vault_secrets::count(&mut *snapshot, organization_id, &caller.viewer()).await?;
    snapshot.commit().await?;
    let (created_at, updated_at) = lifetime.ok_or_else(ApiError::vault_not_initialized)?;
    let body = Vault {
        id,
        organization_id,
        created_at: timestamp(created_at),
        updated_at: timestamp(updated_at),
        key_count: keys.len(),
        secret_count,
        recovery_key_count: keys.iter().filter(|key| key.kept.key_type == KeyType::Recovery).count(),
    };
    answer(StatusCode::OK, &body)
}

/// Initialize the vault
///
/// This is possible once. The client makes the key of the vault, and sends it wrapped with each vault key. The service
/// never has the key itself.
#[utoipa::path(post, path = "/api/v1/vault/initialize", tag = "Vault",
    responses((status = 201, description = "The vault", body = InitializedVault)),
    extensions(("x-errors" = json!([Code::VaultExists]))))]
pub(crate) async fn initialize_vault(
    Admin(caller): Admin,
    body: Sent<Initialization>,
) -> Result<Response, ApiError> {
    let Initialization { primary, recovery } = body.read(caller.settings())?;
    let created_by = caller.actor().id();
    let all = || {
        let recovery = recovery.iter().map(|key| (key, KeyType::Recovery));
        [(&primary, KeyType::Primary)].into_iter().chain(recovery)
    };
    let stored = all().map(|(key, key_type)| key.stored(&key.kept(key_type, &created_by)));
    let stored = stored.collect::<Result<Vec<CiphertextChange>, ApiError>>()?;
    let keys = all().map(|(key, key_type)| key.in_history(key_type)).collect();
    let vault_id = ids::of_vault(caller.organization_id());
    let reply = Initialized { vault_id, vault_key_id: primary.id, recovery_key_count: recovery.len() };
    let command = Command::Vault(VaultCommand::Initialize { keys });
    caller.write_with(vault_id, command, stored, None, reply).await
}

/// Body of `POST /vault/initialize`.
#[derive(Debug)]
pub(crate) struct Initialization {
    primary: NewKey,
    recovery: Vec<NewKey>,
}

impl ReadForm for Initialization {
    const NAME: &'static str = "InitializeVault";
    const EXAMPLE: &'static str = r#"{ "vault_key": { "id": "6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b501", "key_type": "primary",
        "wrapped_org_encryption_key": "d3JhcHBlZA==", "auth_hash": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9" } }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let primary = form.required("vault_key", "The primary key", new_key(KeyType::Primary));
        let about = "Keys that replace the primary key when it is lost";
        let recovery = form.lenient("recovery_keys", about, new_keys(KeyType::Recovery)).unwrap_or_default();
        let mut ids: Vec<Uuid> = primary.iter().chain(&recovery).map(|key| key.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < count {
            form.refuse("recovery_keys", "Every key needs an id of its own");
        }
        Some(Self { primary: primary?, recovery })
    }
}

/// Answers with the ids of what was initialized.
struct Initialized {
    vault_id: Uuid,
    vault_key_id: Uuid,
    recovery_key_count: usize,
}

impl Reply for Initialized {
    fn compose(&self, _: &Committed) -> Result<Answer, ApiError> {
        let Self { vault_id, vault_key_id, recovery_key_count } = *self;
        let body = InitializedVault { vault_id, vault_key_id, recovery_key_count };
        Answer::json(StatusCode::CREATED, &body)
    }
}

/// Unlock the vault with a vault key
///
/// Returns the wrapped key of the vault, and every secret that the API key may use, still encrypted. For a hash that no
/// vault key has, it returns nothing. Attempts are limited for each API key, as invalid keys are for each address.
#[utoipa::path(get, path = "/api/v1/vault/unlock", tag = "Vault",
    responses((status = 200, description = "The wrapped key and the secrets", body = UnlockedVault<'static>)),
    extensions(("x-errors" = json!([Code::VaultNotInitialized]))))]
pub(crate) async fn unlock_vault(caller: Caller, query: Query<HashQuery>) -> Result<Response, ApiError> {
    let HashQuery(hash) = query.read()?;
    let missing = || Fault::parameter("auth_hash", Complaint::new("missing", "Field required"));
    let hash = hash.ok_or_else(|| ApiError::invalid(vec![missing()]))?;
    caller.charge_vault_attempt()?;
    let keys = kept::load(&caller).await?;
    let Some(found) = kept::with_hash(&keys, &hash) else {
        let nothing = UnlockedVault { wrapped_org_encryption_key: None, encrypted_secrets: vec![] };
        return answer(StatusCode::OK, &nothing);
    };
    let wrapped = serde_json::to_string(&found.kept.wrapped_org_encryption_key)?;
    let before = format!(r#"{{"wrapped_org_encryption_key":{wrapped},"encrypted_secrets":["#);
    let filter = Filter { with_content: true, ..Filter::default() };
    listing::answer(&caller, filter, before, "]}").await
}

/// The parameters of unlocking.
#[derive(Debug)]
pub(crate) struct HashQuery(Option<String>);

impl ReadQuery for HashQuery {
    fn read(parameters: &mut Parameters) -> Self {
        let hash = parameters.one("auth_hash", "The hash of a vault key", auth_hash_parameter());
        parameters.require("auth_hash");
        Self(hash)
    }
}

/// List vault keys
///
/// The primary key first, then recovery keys, oldest first.
#[utoipa::path(get, path = "/api/v1/vault/keys", tag = "Vault",
    responses((status = 200, description = "The keys", body = Vec<VaultKey>)),
    extensions(("x-errors" = json!([Code::VaultNotInitialized]))))]
pub(crate) async fn list_vault_keys(caller: Caller, query: Query<TypeQuery>) -> Result<Response, ApiError> {
    let TypeQuery(key_type) = query.read()?;
    let keys = kept::load(&caller).await?;
    let wanted = keys.iter().filter(|key| key_type.is_none_or(|key_type| key_type == key.kept.key_type));
    answer(StatusCode::OK, &wanted.map(kept::StoredKey::body).collect::<Vec<_>>())
}

/// The parameters of the list of keys.
#[derive(Debug)]
pub(crate) struct TypeQuery(Option<KeyType>);

impl ReadQuery for TypeQuery {
    fn read(parameters: &mut Parameters) -> Self {
        Self(parameters.one("type", "Only those of this kind", choice()))
    }
}

/// Replace the primary vault key
///
/// Needs the hash of the present one, or the hash of a recovery key, which is deleted.
#[utoipa::path(put, path = "/api/v1/vault/keys/primary", tag = "Vault",
    responses((status = 200, description = "The new key", body = VaultKey)),
    extensions(("x-errors" = json!([Code::VaultNotInitialized, Code::VaultKeyNotFound, Code::VaultKeyExists]))))]
pub(crate) async fn replace_primary_key(
    Admin(caller): Admin,
    body: Sent<Replacement>,
) -> Result<Response, ApiError> {
    let Replacement { key, shown, shown_type } = body.read(caller.settings())?;
    caller.charge_vault_attempt()?;
    let keys = kept::load(&caller).await?;
    let used = kept::with_hash(&keys, &shown).filter(|found| found.kept.key_type == shown_type);
    let used = used.ok_or_else(ApiError::vault_key_not_found)?.id;
    let is_replaced = |found: &&kept::StoredKey| found.kept.key_type == KeyType::Primary || found.id == used;
    let replaced: Vec<Uuid> = keys.iter().filter(is_replaced).map(|found| found.id).collect();
    let deleted = replaced.iter().map(|id| CiphertextChange::Delete { name: id.to_string() });
    let kept = key.kept(KeyType::Primary, &caller.actor().id());
    let changes = deleted.chain([key.stored(&kept)?]).collect();
    let command = VaultCommand::ReplacePrimary { key: key.in_history(KeyType::Primary), replaced };
    let vault_id = ids::of_vault(caller.organization_id());
    let reply = Replaced { id: key.id, kept };
    caller.write_with(vault_id, Command::Vault(command), changes, None, reply).await
}

/// Body of `PUT /vault/keys/primary`.
#[derive(Debug)]
pub(crate) struct Replacement {
    key: NewKey,
    /// The hash of a present vault key, and the type that this key should have.
    shown: String,
    shown_type: KeyType,
}

impl ReadForm for Replacement {
    const NAME: &'static str = "ReplacePrimaryVaultKey";
    const EXAMPLE: &'static str = r#"{ "id": "6f1ad7a1-2f5c-4f0e-8a41-93d0c7e3b503", "wrapped_org_encryption_key": "d3JhcHBlZA==",
        "auth_hash": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
        "current_auth_hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" }"#;

    fn read(form: &mut Form, _: &AppSettings) -> Option<Self> {
        let id = form.required("id", "A new id, chosen by the client", uuid());
        let about = "The key of the vault, wrapped with the new vault key";
        let wrapped = form.required("wrapped_org_encryption_key", about, wrapped());
        let hash = form.required("auth_hash", "The hash of the new vault key", auth_hash());
        let current = form.lenient("current_auth_hash", "The hash of the present primary key", auth_hash());
        let about = "The hash of a recovery key; one of the two hashes is needed, and not both";
        let recovery = form.lenient("recovery_auth_hash", about, auth_hash());
        let shown = match (current, recovery) {
            (Some(current), None) => Some((current, KeyType::Primary)),
            (None, Some(recovery)) => Some((recovery, KeyType::Recovery)),
            (Some(_), Some(_)) | (None, None) => {
                form.refuse("current_auth_hash", "Either current_auth_hash or recovery_auth_hash is needed");
                None
            }
        };
        let (shown, shown_type) = shown?;
        Some(Self { key: NewKey::primary(id?, wrapped?, hash?), shown, shown_type })
    }
}

/// Answers with the new key.
struct Replaced {
    id: Uuid,
    kept: KeptKey,
}

impl Reply for Replaced {
    fn compose(&self, committed: &Committed) -> Result<Answer, ApiError> {
        let event = committed.events.last().ok_or_else(ApiError::vault_key_not_found)?;
        Answer::json(StatusCode::OK, &self.kept.body(self.id, event.recorded_at))
    }
}

/// Delete a vault key
///
/// It is named by its hash. The last key cannot be deleted, since nothing would open the vault any more.
#[utoipa::path(delete, path = "/api/v1/vault/keys/{auth_hash}", tag = "Vault",
    responses((status = 204, description = "Done")),
    extensions(("x-errors" = json!([Code::VaultNotInitialized, Code::VaultKeyNotFound, Code::LastVaultKey]))))]
pub(crate) async fn delete_vault_key(
    Admin(caller): Admin,
    Segments(hash): Segments<String>,
) -> Result<Response, ApiError> {
    caller.charge_vault_attempt()?;
    let keys = kept::load(&caller).await?;
    let found = Some(&hash).filter(|hash| kept::is_hash(hash)).and_then(|hash| kept::with_hash(&keys, hash));
    let key_id = found.ok_or_else(ApiError::vault_key_not_found)?.id;
    let deleted = vec![CiphertextChange::Delete { name: key_id.to_string() }];
    let command = Command::Vault(VaultCommand::DeleteKey { key_id });
    caller.write_with(ids::of_vault(caller.organization_id()), command, deleted, None, Done).await
}
