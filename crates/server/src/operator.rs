//! What operators do beside the API: organizations and keys. Called by the command line.

use anyhow::bail;
use secrecy::SecretString;
use sqlx::PgPool;
use time::OffsetDateTime;

/// Acts on a migrated database with an operator's rights, which are all there are.
#[derive(Debug, Clone)]
pub struct Operator {
    #[expect(dead_code, reason = "not read until there is something to operate on")]
    pool: PgPool,
}

/// An organization that was just made.
#[derive(Debug)]
pub struct NewOrganization {
    /// Its id, opaque to clients.
    pub organization_id: String,
    /// Its first admin key, which cannot be shown again.
    pub api_key: SecretString,
}

/// An organization as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id, opaque to clients.
    pub id: String,
    /// What its operator calls it.
    pub name: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// A key that was just issued.
#[derive(Debug)]
pub struct NewKey {
    /// Its public part, `ApiKey_<uuid>`.
    pub key_id: String,
    /// The whole of it, which cannot be shown again.
    pub api_key: SecretString,
}

/// A key as listed; its secret is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its public part, `ApiKey_<uuid>`.
    pub id: String,
    /// What its issuer calls it.
    pub label: String,
    /// Handle of the one identity it acts for; none for an admin key.
    pub identity: Option<String>,
    /// The last four characters of its secret.
    pub last4: String,
    /// When it was issued.
    pub created_at: OffsetDateTime,
    /// Since when it is refused; none while it is good.
    pub revoked_at: Option<OffsetDateTime>,
}

impl Operator {
    /// An operator of this database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes an organization of this name and its first admin key.
    #[expect(clippy::unused_async, reason = "will read and write the log")]
    pub async fn create_organization(&self, _name: &str) -> anyhow::Result<NewOrganization> {
        bail!("not available yet")
    }

    /// All organizations, the oldest first.
    #[expect(clippy::unused_async, reason = "will read the log")]
    pub async fn list_organizations(&self) -> anyhow::Result<Vec<Organization>> {
        bail!("not available yet")
    }

    /// Issues a key of an organization, given by its id or name: for everything, or for one of its identities, given by
    /// its handle.
    #[expect(clippy::unused_async, reason = "will read and write the log")]
    pub async fn issue_key(
        &self,
        _organization: &str,
        _label: &str,
        _identity: Option<&str>,
    ) -> anyhow::Result<NewKey> {
        bail!("not available yet")
    }

    /// All keys of an organization, given by its id or name, the oldest first.
    #[expect(clippy::unused_async, reason = "will read the log")]
    pub async fn list_keys(&self, _organization: &str) -> anyhow::Result<Vec<Key>> {
        bail!("not available yet")
    }

    /// Revokes a key, given by its public part. A key that is revoked already stays as it is.
    #[expect(clippy::unused_async, reason = "will read and write the log")]
    pub async fn revoke_key(&self, _key_id: &str) -> anyhow::Result<()> {
        bail!("not available yet")
    }
}
