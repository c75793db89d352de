//! Daily quotas, for keys and organizations: on writes that use up names and numbers, which all organizations share,
//! and on writes that stay in the database for ever.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::RateLimiter;
use identity_domain::identity::Command as IdentityCommand;
use identity_domain::{Command, api_key, vault, vault_secret, webhook_subscription};
use identity_projections::api_keys::{KeyScope, Row as KeyRow};
use uuid::Uuid;

use super::buckets::{Buckets, quota, take};

const DAY: Duration = Duration::from_hours(24);

/// The quotas of a day. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DailySettings {
    /// Identities that an organization creates.
    pub identities_of_organization: u32,
    /// Phone numbers that an organization gets.
    pub numbers_of_organization: u32,
    /// Phone numbers that one agent key asks for, whether it gets them or not.
    pub numbers_of_agent: u32,
    /// Vault secrets that an organization registers.
    pub secrets_of_organization: u32,
    /// Keys that are issued or rotated with one key.
    pub keys_of_key: u32,
    /// Identities that are opened to everybody with one key.
    pub openings_of_key: u32,
    /// Single grants and revocations of access with one key.
    pub grants_of_key: u32,
    /// Other writes of an organization, except those that end something.
    pub changes_of_organization: u32,
    /// The same with one agent key.
    pub changes_of_agent: u32,
    /// Writes with an `Idempotency-Key` with one key.
    pub repeatable_writes_of_key: u32,
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy)]
pub(super) struct UsedUp {
    pub(super) of_what: &'static str,
    /// The seconds to wait.
    pub(super) seconds: u32,
}

/// The buckets of a process.
#[derive(Default)]
pub(super) struct Daily {
    identities: Quota<String>,
    numbers: Quota<String>,
    numbers_of_agent: Quota<Uuid>,
    secrets: Quota<String>,
    keys: Quota<Uuid>,
    openings: Quota<Uuid>,
    grants: Quota<Uuid>,
    changes: Quota<String>,
    changes_of_agent: Quota<Uuid>,
    repeatable_writes: Quota<Uuid>,
}

/// One quota; without buckets there is no limit.
struct Quota<K: Hash + Eq + Clone> {
    of_what: &'static str,
    buckets: Option<Buckets<K>>,
}

impl<K: Hash + Eq + Clone> Default for Quota<K> {
    fn default() -> Self {
        Self { of_what: "", buckets: None }
    }
}

impl<K: Hash + Eq + Clone> Quota<K> {
    fn new(of_what: &'static str, tokens: u32) -> Self {
        let quota = NonZeroU32::new(tokens).and_then(|tokens| quota(tokens, DAY));
        Self { of_what, buckets: quota.map(|quota| RateLimiter::dashmap(quota).with_middleware()) }
    }

    fn take(&self, key: &K) -> Result<(), UsedUp> {
        let Some(buckets) = &self.buckets else { return Ok(()) };
        take(buckets, key).map(drop).map_err(|seconds| UsedUp { of_what: self.of_what, seconds })
    }
}

impl Daily {
    pub(super) fn new(settings: DailySettings) -> Self {
        Self {
            identities: Quota::new(
                "new identities of this organization",
                settings.identities_of_organization,
            ),
            numbers: Quota::new("phone numbers of this organization", settings.numbers_of_organization),
            numbers_of_agent: Quota::new("phone numbers with this API key", settings.numbers_of_agent),
            secrets: Quota::new("vault secrets of this organization", settings.secrets_of_organization),
            keys: Quota::new("API keys issued or rotated with this API key", settings.keys_of_key),
            openings: Quota::new("identities opened with this API key", settings.openings_of_key),
            grants: Quota::new("changes of access with this API key", settings.grants_of_key),
            changes: Quota::new("changes of this organization", settings.changes_of_organization),
            changes_of_agent: Quota::new("changes with this API key", settings.changes_of_agent),
            repeatable_writes: Quota::new(
                "requests with an Idempotency-Key with this API key",
                settings.repeatable_writes_of_key,
            ),
        }
    }

    /// Counts this command against its quota, whether it is accepted later or not. What has no quota of its own is a change. What
    /// ends something is free: there is no more of it than there was before, and a key that somebody has stolen can be revoked at
    /// any time.
    pub(super) fn take(&self, key: &KeyRow, command: &Command, is_repeatable: bool) -> Result<(), UsedUp> {
        if is_repeatable {
            self.take_repeatable(key)?;
        }
        match command {
            Command::Identity(command) => self.take_for_identity(key, command),
            Command::ApiKey(api_key::Command::Issue(_) | api_key::Command::Rotate(_)) => {
                self.keys.take(&key.id)
            }
            Command::VaultSecret(vault_secret::Command::Register { .. }) => {
                self.secrets.take(&key.organization_id)
            }
            Command::ApiKey(api_key::Command::Revoke)
            | Command::VaultSecret(vault_secret::Command::Delete)
            | Command::Vault(vault::Command::DeleteKey { .. })
            | Command::WebhookSubscription(webhook_subscription::Command::Delete(_)) => Ok(()),
            Command::VaultSecret(_)
            | Command::Vault(_)
            | Command::Organization(_)
            | Command::WebhookSubscription(_) => self.take_change(key),
        }
    }

    /// Counts a write that has no other quota.
    pub(super) fn take_change(&self, key: &KeyRow) -> Result<(), UsedUp> {
        if key.scope == KeyScope::Agent {
            self.changes_of_agent.take(&key.id)?;
        }
        self.changes.take(&key.organization_id)
    }

    /// Counts a phone number. An agent cannot use up what its organization may have by asking in vain.
    fn take_number(&self, key: &KeyRow) -> Result<(), UsedUp> {
        if key.scope == KeyScope::Agent {
            self.numbers_of_agent.take(&key.id)?;
        }
        self.numbers.take(&key.organization_id)
    }

    /// Counts a write with an `Idempotency-Key`, whose answer is stored.
    pub(super) fn take_repeatable(&self, key: &KeyRow) -> Result<(), UsedUp> {
        self.repeatable_writes.take(&key.id)
    }

    fn take_for_identity(&self, key: &KeyRow, command: &IdentityCommand) -> Result<(), UsedUp> {
        match command {
            IdentityCommand::Create(create) => {
                self.identities.take(&key.organization_id)?;
                if create.phone.is_some() { self.take_number(key) } else { Ok(()) }
            }
            IdentityCommand::ProvisionPhone(_) => self.take_number(key),
            IdentityCommand::OpenVisibility { .. } => self.openings.take(&key.id),
            IdentityCommand::GrantVisibility { .. }
            | IdentityCommand::RevokeVisibility { .. }
            | IdentityCommand::GrantVaultAccess { .. }
            | IdentityCommand::RevokeVaultAccess { .. } => self.grants.take(&key.id),
            IdentityCommand::Delete | IdentityCommand::ReleasePhone { .. } => Ok(()),
            _ => self.take_change(key),
        }
    }
}
