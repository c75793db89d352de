//! Vault keys as they are stored, and as they are read from a request. The key itself is never sent.
//!
//! A client derives a master key from a secret of its user, wraps the key of the vault with it, and sends the wrapped key
//! together with a hash of the master key. A client that sends that hash again gets the wrapped key. The service stores
//! a digest of the hash only, so the hash itself cannot be read from a copy of the database.

use identity_domain::Kind;
use identity_domain::vault::{Key, KeyType};
use identity_log::ciphertexts::{self, Ciphertext, CiphertextChange};
use identity_log::ids;
use identity_log::recorded::timestamp;
use identity_projections::bodies::VaultKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgExecutor;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::caller::Caller;
use crate::error::ApiError;
use crate::fault::Complaint;
use crate::form::reader::{Reader, parsed};

/// The longest wrapped key: far more than the 80 characters of published clients.
const LONGEST_WRAPPED: usize = 1024;

/// How many recovery keys a vault may begin with.
const MAX_RECOVERY_KEYS: usize = 16;

/// SHA-256 in hexadecimal.
const HASH_PATTERN: &str = "^[0-9a-f]{64}$";

/// The pattern of base64 that is not empty.
const BASE64_PATTERN: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$";

/// The stored data of a vault key.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptKey {
    pub(super) key_type: KeyType,
    /// SHA-256 of the hash by which the key is found.
    auth_hash_sha256: String,
    pub(super) wrapped_org_encryption_key: String,
    /// The API key that created it.
    created_by: String,
}

/// A vault key that was read from the database.
pub(super) struct StoredKey {
    pub(super) id: Uuid,
    pub(super) kept: KeptKey,
    created_at: OffsetDateTime,
}

impl StoredKey {
    fn read(row: &Ciphertext) -> Result<Self, ApiError> {
        let id = row.name.parse().map_err(|_| ApiError::internal("a vault key has no id".to_owned()))?;
        Ok(Self { id, kept: serde_json::from_slice(&row.ciphertext)?, created_at: row.recorded_at })
    }

    /// The key as clients see it.
    pub(super) fn body(&self) -> VaultKey {
        self.kept.body(self.id, self.created_at)
    }
}

impl KeptKey {
    pub(super) fn body(&self, id: Uuid, created_at: OffsetDateTime) -> VaultKey {
        let created_at = timestamp(created_at);
        let updated_at = created_at.clone();
        VaultKey { id, key_type: self.key_type, created_by: self.created_by.clone(), created_at, updated_at }
    }
}

/// The keys of the vault of the caller's organization, the primary key first.
pub(super) async fn load(caller: &Caller) -> Result<Vec<StoredKey>, ApiError> {
    read(caller.pool().await, caller.organization_id()).await
}

/// The keys of the vault of an organization, the primary key first.
pub(super) async fn read(
    executor: impl PgExecutor<'_>,
    organization_id: &str,
) -> Result<Vec<StoredKey>, ApiError> {
    let vault = [ids::of_vault(organization_id).to_string()];
    let rows = ciphertexts::of_aggregates(executor, organization_id, Kind::Vault, &vault).await?;
    let mut keys = rows.iter().map(StoredKey::read).collect::<Result<Vec<StoredKey>, ApiError>>()?;
    keys.sort_by_key(|key| (key.kept.key_type, key.created_at));
    if keys.is_empty() { Err(ApiError::vault_not_initialized()) } else { Ok(keys) }
}

/// The key with this hash. Every key is compared, each in constant time.
pub(super) fn with_hash<'a>(keys: &'a [StoredKey], hash: &str) -> Option<&'a StoredKey> {
    let digest = sha256(hash);
    let is_it = |key: &StoredKey| bool::from(key.kept.auth_hash_sha256.as_bytes().ct_eq(digest.as_bytes()));
    keys.iter().fold(None, |found, key| if is_it(key) { Some(key) } else { found })
}

/// A new vault key, as a client sends it.
#[derive(Debug, Deserialize)]
pub(super) struct NewKey {
    pub(super) id: Uuid,
    pub(super) wrapped_org_encryption_key: String,
    pub(super) auth_hash: String,
    key_type: Option<KeyType>,
}

impl NewKey {
    /// A new primary key.
    pub(super) fn primary(id: Uuid, wrapped_org_encryption_key: String, auth_hash: String) -> Self {
        Self { id, wrapped_org_encryption_key, auth_hash, key_type: Some(KeyType::Primary) }
    }

    /// The key as history has it.
    pub(super) fn in_history(&self, key_type: KeyType) -> Key {
        Key { id: self.id, key_type, wrapped_sha256: sha256(&self.wrapped_org_encryption_key) }
    }

    /// The key as it is stored.
    pub(super) fn kept(&self, key_type: KeyType, created_by: &str) -> KeptKey {
        KeptKey {
            key_type,
            auth_hash_sha256: sha256(&self.auth_hash),
            wrapped_org_encryption_key: self.wrapped_org_encryption_key.clone(),
            created_by: created_by.to_owned(),
        }
    }

    /// The change that stores it.
    pub(super) fn stored(&self, kept: &KeptKey) -> Result<CiphertextChange, ApiError> {
        Ok(CiphertextChange::Put { name: self.id.to_string(), ciphertext: serde_json::to_vec(kept)? })
    }
}

/// A vault key of this type in a body.
pub(super) fn new_key(key_type: KeyType) -> impl Reader<Value, NewKey> {
    (move |value: &Value| read_key(value, key_type), move || key_schema(key_type))
}

/// Vault keys of this type in a body.
pub(super) fn new_keys(key_type: KeyType) -> impl Reader<Value, Vec<NewKey>> {
    let read = move |value: &Value| {
        let keys = value.as_array().filter(|keys| keys.len() <= MAX_RECOVERY_KEYS);
        let message = format!("Input should be a list of at most {MAX_RECOVERY_KEYS} vault keys");
        let keys = keys.ok_or_else(|| Complaint::new("list_type", message))?;
        keys.iter().map(|key| read_key(key, key_type)).collect()
    };
    (read, move || json!({ "type": "array", "maxItems": MAX_RECOVERY_KEYS, "items": key_schema(key_type) }))
}

fn read_key(value: &Value, key_type: KeyType) -> Result<NewKey, Complaint> {
    let complaint =
        |what: &str| Complaint::new("value_error", format!("Input should be a vault key: {what}"));
    let key = NewKey::deserialize(value).map_err(|_| complaint("an object with id, wrapped key and hash"))?;
    if !is_base64(&key.wrapped_org_encryption_key) || key.wrapped_org_encryption_key.len() > LONGEST_WRAPPED {
        return Err(complaint("wrapped_org_encryption_key is not base64 of at most 1024 characters"));
    }
    if !is_hash(&key.auth_hash) {
        return Err(complaint("auth_hash is not SHA-256 in lower-case hexadecimal"));
    }
    if key.key_type.is_some_and(|found| found != key_type) {
        return Err(complaint("key_type is that of another kind of key"));
    }
    Ok(key)
}

fn key_schema(key_type: KeyType) -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "format": "uuid", "description": "A new id, chosen by the client" },
            "wrapped_org_encryption_key": wrapped_schema(),
            "auth_hash": hash_schema(),
            "key_type": { "enum": [key_type, null], "description": "The kind of key" },
        },
        "required": ["id", "wrapped_org_encryption_key", "auth_hash"],
    })
}

/// A wrapped key in a body.
pub(super) fn wrapped() -> impl Reader<Value, String> {
    base64(LONGEST_WRAPPED)
}

fn wrapped_schema() -> Value {
    json!({ "type": "string", "maxLength": LONGEST_WRAPPED, "pattern": BASE64_PATTERN,
            "description": "The key of the vault, wrapped with the vault key" })
}

/// Base64 in a body.
pub(super) fn base64(longest: usize) -> impl Reader<Value, String> {
    let parse = |text: &str| is_base64(text).then(|| text.to_owned()).ok_or("Input should be base64");
    parsed(
        longest,
        parse,
        move || json!({ "type": "string", "maxLength": longest, "pattern": BASE64_PATTERN }),
    )
}

/// The hash of a vault key in a body.
pub(super) fn auth_hash() -> impl Reader<Value, String> {
    let parse = |text: &str| is_hash(text).then(|| text.to_owned()).ok_or(NO_HASH);
    parsed(64, parse, hash_schema)
}

/// The hash of a vault key in a query.
pub(super) fn auth_hash_parameter() -> impl Reader<str, String> {
    let read = |text: &str| {
        is_hash(text).then(|| text.to_owned()).ok_or_else(|| Complaint::new("value_error", NO_HASH))
    };
    (read, hash_schema)
}

const NO_HASH: &str = "Input should be SHA-256 in lower-case hexadecimal";

fn hash_schema() -> Value {
    json!({ "type": "string", "pattern": HASH_PATTERN, "description": "SHA-256 of the key that was derived from the vault key" })
}

pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_base64(text: &str) -> bool {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    !text.is_empty() && text.len().is_multiple_of(4) && digits.bytes().all(is_digit)
}

/// SHA-256 of a text, in hexadecimal.
pub(super) fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}
