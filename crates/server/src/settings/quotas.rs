//! Settings of quotas: on what is used up in a day, and on how much there may be.

use anyhow::ensure;
use clap::Args;
use identity_http::limits::DailySettings;
use identity_log::{Quotas, SubscriptionLimits};
use serde::Deserialize;

const DEFAULT_ORGANIZATION_IDENTITIES_PER_DAY: u32 = 100_000;
const DEFAULT_ORGANIZATION_NUMBERS_PER_DAY: u32 = 1_000;
const DEFAULT_ORGANIZATION_SECRETS_PER_DAY: u32 = 10_000;
const DEFAULT_ORGANIZATION_CHANGES_PER_DAY: u32 = 100_000;
const DEFAULT_AGENT_CHANGES_PER_DAY: u32 = 20_000;
const DEFAULT_KEY_KEYS_PER_DAY: u32 = 1_000;
const DEFAULT_KEY_OPENINGS_PER_DAY: u32 = 1_000;
const DEFAULT_KEY_GRANTS_PER_DAY: u32 = 100_000;
const DEFAULT_ORGANIZATION_BULK_BYTES_PER_SECOND: u32 = 256 * 1024;
const DEFAULT_KEY_IDEMPOTENCY_KEYS_PER_DAY: u32 = 20_000;

/// For each phone number that one identity may get a day, how many its key may ask for, since it is also refused for other reasons.
const NUMBER_REQUESTS_PER_NUMBER: u32 = 4;

/// Quotas in one layer of settings: flags and environment, or the table `quotas` of the settings file. 0 is no limit.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaLayer {
    /// Phone numbers that one identity gets a day; 0 is no limit, here and in all quotas [default: 5]
    #[arg(long, env = "IDENTITYD_IDENTITY_NUMBERS_PER_DAY", value_name = "NUMBER")]
    pub identity_numbers_per_day: Option<u32>,

    /// Times that one identity is renamed a day [default: 10]
    #[arg(long, env = "IDENTITYD_IDENTITY_RENAMES_PER_DAY", value_name = "NUMBER")]
    pub identity_renames_per_day: Option<u32>,

    /// Names that one identity gave up and that stay reserved; if it gives up more, the oldest becomes free [default:
    /// 10]
    #[arg(long, env = "IDENTITYD_IDENTITY_NAMES_HELD", value_name = "NUMBER")]
    pub identity_names_held: Option<u32>,

    /// Identities that one organization creates a day [default: 100000]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_IDENTITIES_PER_DAY", value_name = "NUMBER")]
    pub organization_identities_per_day: Option<u32>,

    /// Phone numbers that one organization gets a day [default: 1000]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_NUMBERS_PER_DAY", value_name = "NUMBER")]
    pub organization_numbers_per_day: Option<u32>,

    /// Vault secrets that one organization registers a day [default: 10000]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_SECRETS_PER_DAY", value_name = "NUMBER")]
    pub organization_secrets_per_day: Option<u32>,

    /// Other changes that one organization makes a day [default: 100000]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_CHANGES_PER_DAY", value_name = "NUMBER")]
    pub organization_changes_per_day: Option<u32>,

    /// Other changes that are made with one agent key a day [default: 20000]
    #[arg(long, env = "IDENTITYD_AGENT_CHANGES_PER_DAY", value_name = "NUMBER")]
    pub agent_changes_per_day: Option<u32>,

    /// Bytes a second that large writes of one organization may add; what exceeds them waits [default: 262144]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_BULK_BYTES_PER_SECOND", value_name = "BYTES")]
    pub organization_bulk_bytes_per_second: Option<u32>,

    /// Active webhook subscriptions of one mailbox, phone number or identity [default: 20]
    #[arg(long, env = "IDENTITYD_OWNER_WEBHOOKS", value_name = "NUMBER")]
    pub owner_webhooks: Option<u32>,

    /// Webhook subscriptions of one organization [default: 1000]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_WEBHOOKS", value_name = "NUMBER")]
    pub organization_webhooks: Option<u32>,

    /// Keys that are issued or rotated with one key a day [default: 1000]
    #[arg(long, env = "IDENTITYD_KEY_KEYS_PER_DAY", value_name = "NUMBER")]
    pub key_keys_per_day: Option<u32>,

    /// Identities that are opened to everybody with one key a day [default: 1000]
    #[arg(long, env = "IDENTITYD_KEY_OPENINGS_PER_DAY", value_name = "NUMBER")]
    pub key_openings_per_day: Option<u32>,

    /// Grants and revocations of access with one key a day [default: 100000]
    #[arg(long, env = "IDENTITYD_KEY_GRANTS_PER_DAY", value_name = "NUMBER")]
    pub key_grants_per_day: Option<u32>,

    /// Writes with an Idempotency-Key with one key a day [default: 20000]
    #[arg(long, env = "IDENTITYD_KEY_IDEMPOTENCY_KEYS_PER_DAY", value_name = "NUMBER")]
    pub key_idempotency_keys_per_day: Option<u32>,
}

/// The quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaSettings {
    /// The quotas of one identity. They are checked with the command, in the log, so they count for all processes
    /// together.
    pub of_identity: Quotas,
    /// How many webhook subscriptions there may be. This is checked with the command, too.
    pub subscriptions: SubscriptionLimits,
    /// The quotas of one key and one organization. Each process counts for itself.
    pub daily: DailySettings,
    /// Bytes that large writes of one organization may add in a second. Each process counts for itself.
    pub bulk_bytes_per_second: u32,
}

macro_rules! over {
    ($above:ident, $below:ident, $($field:ident),*) => {
        Self { $($field: $above.$field.or($below.$field),)* }
    };
}

impl QuotaLayer {
    /// Values of this layer, and for those that it does not set the values of the layer below.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        over!(
            self,
            below,
            identity_numbers_per_day,
            identity_renames_per_day,
            identity_names_held,
            organization_identities_per_day,
            organization_numbers_per_day,
            organization_secrets_per_day,
            organization_changes_per_day,
            agent_changes_per_day,
            organization_bulk_bytes_per_second,
            owner_webhooks,
            organization_webhooks,
            key_keys_per_day,
            key_openings_per_day,
            key_grants_per_day,
            key_idempotency_keys_per_day
        )
    }
}

impl QuotaSettings {
    /// Fills in the defaults and checks the result; an error names the key.
    pub fn resolve(layer: &QuotaLayer) -> anyhow::Result<Self> {
        let usual = Quotas::default();
        let or = |given: Option<u32>, usual: u32| given.unwrap_or(usual);
        let of_identity = Quotas {
            numbers_per_day: or(layer.identity_numbers_per_day, usual.numbers_per_day),
            renames_per_day: or(layer.identity_renames_per_day, usual.renames_per_day),
            names_held: or(layer.identity_names_held, usual.names_held),
        };
        at_most("identity_numbers_per_day", of_identity.numbers_per_day)?;
        at_most("identity_renames_per_day", of_identity.renames_per_day)?;
        let usual = SubscriptionLimits::default();
        let subscriptions = SubscriptionLimits {
            of_owner: or(layer.owner_webhooks, usual.of_owner),
            of_organization: or(layer.organization_webhooks, usual.of_organization),
        };
        let daily = DailySettings {
            identities_of_organization: or(
                layer.organization_identities_per_day,
                DEFAULT_ORGANIZATION_IDENTITIES_PER_DAY,
            ),
            numbers_of_organization: or(
                layer.organization_numbers_per_day,
                DEFAULT_ORGANIZATION_NUMBERS_PER_DAY,
            ),
            numbers_of_agent: of_identity.numbers_per_day.saturating_mul(NUMBER_REQUESTS_PER_NUMBER),
            secrets_of_organization: or(
                layer.organization_secrets_per_day,
                DEFAULT_ORGANIZATION_SECRETS_PER_DAY,
            ),
            changes_of_organization: or(
                layer.organization_changes_per_day,
                DEFAULT_ORGANIZATION_CHANGES_PER_DAY,
            ),
            changes_of_agent: or(layer.agent_changes_per_day, DEFAULT_AGENT_CHANGES_PER_DAY),
            keys_of_key: or(layer.key_keys_per_day, DEFAULT_KEY_KEYS_PER_DAY),
            openings_of_key: or(layer.key_openings_per_day, DEFAULT_KEY_OPENINGS_PER_DAY),
            grants_of_key: or(layer.key_grants_per_day, DEFAULT_KEY_GRANTS_PER_DAY),
            repeatable_writes_of_key: or(
                layer.key_idempotency_keys_per_day,
                DEFAULT_KEY_IDEMPOTENCY_KEYS_PER_DAY,
            ),
        };
        let bulk_bytes_per_second =
            or(layer.organization_bulk_bytes_per_second, DEFAULT_ORGANIZATION_BULK_BYTES_PER_SECOND);
        Ok(Self { of_identity, subscriptions, daily, bulk_bytes_per_second })
    }
}

/// The limit on a quota of an identity: the times of its uses of a day are in memory.
fn at_most(key: &str, number: u32) -> anyhow::Result<()> {
    ensure!(number <= Quotas::MAX_PER_DAY, "{key} is {number}, at most {} is possible", Quotas::MAX_PER_DAY);
    Ok(())
}
