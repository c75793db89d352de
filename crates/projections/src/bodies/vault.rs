//! Bodies of the vault: its keys, its secrets, and who may use them.

use identity_domain::vault::KeyType;
use identity_domain::vault_secret::SecretType;
use identity_log::recorded::timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::vault_access::AccessRule;
use crate::vault_secrets;

/// The vault of an organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct Vault<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its organization.
    pub organization_id: &'a str,
    /// When it was initialized.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its keys last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// How many keys open it.
    pub key_count: usize,
    /// How many secrets the caller's API key may use.
    pub secret_count: i64,
    /// How many of its keys are recovery keys.
    pub recovery_key_count: usize,
}

/// A vault that was initialized.
#[derive(Debug, Serialize, ToSchema)]
pub struct InitializedVault {
    /// Its id.
    pub vault_id: Uuid,
    /// The id of its primary key.
    pub vault_key_id: Uuid,
    /// How many recovery keys it has.
    pub recovery_key_count: usize,
}

/// A vault key, without what is kept of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct VaultKey {
    /// Its id, which its client chose.
    pub id: Uuid,
    /// What it is for.
    pub key_type: KeyType,
    /// The id of the API key that created it.
    #[schema(example = "ApiKey_67e166e4-7b0c-4a57-9a57-0d7c4d3b1a11")]
    pub created_by: String,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// The same: keys do not change.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// What a vault key opens.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnlockedVault<'a> {
    /// The key that encrypts the secrets, wrapped by the vault key; null if no vault key has this hash.
    #[schema(required)]
    pub wrapped_org_encryption_key: Option<&'a str>,
    /// Every secret with content that the API key may use.
    pub encrypted_secrets: Vec<VaultSecretDetail<'a>>,
}

/// A vault secret without its content.
#[derive(Debug, Serialize, ToSchema)]
pub struct VaultSecret<'a> {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    #[schema(example = "mail relay")]
    pub name: &'a str,
    /// What it holds.
    #[schema(value_type = SecretType)]
    pub secret_type: &'a str,
    /// What it is for.
    #[schema(required)]
    pub description: Option<&'a str>,
    /// Who may use it.
    pub access: Vec<VaultAccessRule>,
    /// When it was registered.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl<'a> VaultSecret<'a> {
    /// A secret with its rules.
    pub fn of(row: &'a vault_secrets::Row, access: Vec<VaultAccessRule>) -> Self {
        Self {
            id: row.id,
            name: &row.name,
            secret_type: &row.secret_type,
            description: row.description.as_deref(),
            access,
            created_at: timestamp(row.created_at),
            updated_at: timestamp(row.updated_at.unwrap_or(row.created_at)),
        }
    }
}

/// Who may use a vault secret.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VaultAccessRule {
    /// The rule's id.
    pub id: Uuid,
    /// The secret.
    pub vault_secret_id: Uuid,
    /// Who may use it.
    pub identity_id: Uuid,
    /// Since when.
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl From<&AccessRule> for VaultAccessRule {
    fn from(rule: &AccessRule) -> Self {
        Self {
            id: rule.access_id,
            vault_secret_id: rule.vault_secret_id,
            identity_id: rule.identity_id,
            created_at: timestamp(rule.created_at),
        }
    }
}

/// A vault secret with its content.
#[derive(Debug, Serialize, ToSchema)]
pub struct VaultSecretDetail<'a> {
    /// Everything else about it.
    #[serde(flatten)]
    pub secret: VaultSecret<'a>,
    /// The content as its client encrypted it, in base64; null for a reference, which has none.
    #[schema(required)]
    pub encrypted_payload: Option<&'a str>,
}
