//! Settings of webhooks: where they may be sent, when they are repeated, how long they are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use identity_webhooks::address::{Policy, SystemResolver};
use identity_webhooks::attempt::DEFAULT_TIMEOUT;
use identity_webhooks::schedule::Schedule;
use identity_webhooks::{LogLimits, Settings, WaitingLimits};
use ipnet::IpNet;
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::tls::certificates;

const DEFAULT_RETENTION_DAYS: u32 = 7;

/// Ten years: longer is a typing error.
const MAX_RETENTION_DAYS: u32 = 3_650;

const HOURS_OF_A_DAY: u64 = 24;

/// The longest wait between two attempts, in seconds. What waits is kept in the queue for as long.
const MAX_RETRY_DELAY: u64 = HOURS_OF_A_DAY * 60 * 60;

/// The largest number of repetitions.
const MAX_RETRIES: usize = 32;

/// Settings of webhooks in one layer of settings: flags and environment, or the table `webhooks` of the settings file.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookLayer {
    /// Networks to which webhooks may be sent although they are not public [default: none]
    #[arg(long, env = "IDENTITYD_WEBHOOK_ALLOW_NETWORKS", value_name = "NETWORK", value_delimiter = ',')]
    pub webhook_allow_networks: Option<Vec<IpNet>>,

    /// Ports to which webhooks may be sent besides 443 [default: none]
    #[arg(long, env = "IDENTITYD_WEBHOOK_PORTS", value_name = "PORT", value_delimiter = ',')]
    pub webhook_ports: Option<Vec<u16>>,

    /// File with certificates of authorities, in PEM, that receivers of webhooks may have besides public ones [default: none]
    #[arg(long, env = "IDENTITYD_WEBHOOK_CA_FILE", value_name = "FILE")]
    pub webhook_ca_file: Option<PathBuf>,

    /// Seconds until a webhook is sent again after its first failure, its second, and so on [default:
    /// 5,30,120,600,3600,10800,21600,43200,86400]
    #[arg(long, env = "IDENTITYD_WEBHOOK_RETRY_DELAYS", value_name = "SECONDS", value_delimiter = ',')]
    pub webhook_retry_delays: Option<Vec<u64>>,

    /// Days for which deliveries of webhooks are kept, with what was sent and answered [default: 7]
    #[arg(long, env = "IDENTITYD_WEBHOOK_RETENTION_DAYS", value_name = "DAYS")]
    pub webhook_retention_days: Option<u32>,

    /// Deliveries of webhooks that are kept for one organization; beyond that the oldest are deleted; 0 is no limit [default: 1000000]
    #[arg(long, env = "IDENTITYD_WEBHOOK_LOG_DELIVERIES", value_name = "NUMBER")]
    pub webhook_log_deliveries: Option<u64>,

    /// Bytes that those have together, of what was sent and answered; 0 is no limit [default: 2147483648]
    #[arg(long, env = "IDENTITYD_WEBHOOK_LOG_BYTES", value_name = "BYTES")]
    pub webhook_log_bytes: Option<u64>,
}

impl WebhookLayer {
    /// Values of this layer, and for those that it does not set the values of the layer below.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            webhook_allow_networks: self.webhook_allow_networks.or(below.webhook_allow_networks),
            webhook_ports: self.webhook_ports.or(below.webhook_ports),
            webhook_ca_file: self.webhook_ca_file.or(below.webhook_ca_file),
            webhook_retry_delays: self.webhook_retry_delays.or(below.webhook_retry_delays),
            webhook_retention_days: self.webhook_retention_days.or(below.webhook_retention_days),
            webhook_log_deliveries: self.webhook_log_deliveries.or(below.webhook_log_deliveries),
            webhook_log_bytes: self.webhook_log_bytes.or(below.webhook_log_bytes),
        }
    }

    /// Fills in the defaults and checks the result; an error names the key.
    pub fn resolve(self) -> anyhow::Result<Settings> {
        let days = self.webhook_retention_days.unwrap_or(DEFAULT_RETENTION_DAYS);
        ensure!(
            (1..=MAX_RETENTION_DAYS).contains(&days),
            "webhook_retention_days is {days}, possible is 1 to {MAX_RETENTION_DAYS}"
        );
        let schedule = schedule(self.webhook_retry_delays)?;
        let retention = Duration::from_hours(u64::from(days) * HOURS_OF_A_DAY);
        check_retention(retention, &schedule)?;
        let usual = LogLimits::default();
        Ok(Settings {
            policy: Policy {
                ports: self.webhook_ports.unwrap_or_default(),
                networks: self.webhook_allow_networks.unwrap_or_default(),
                allows_loopback: false,
            },
            schedule,
            timeout: DEFAULT_TIMEOUT,
            retention,
            log: LogLimits {
                deliveries: self.webhook_log_deliveries.unwrap_or(usual.deliveries),
                bytes: self.webhook_log_bytes.unwrap_or(usual.bytes),
            },
            waiting: WaitingLimits::default(),
            resolver: Arc::new(SystemResolver::default()),
            authorities: self.webhook_ca_file.as_deref().map(authorities).transpose()?.unwrap_or_default(),
        })
    }
}

fn schedule(delays: Option<Vec<u64>>) -> anyhow::Result<Schedule> {
    let Some(delays) = delays else { return Ok(Schedule::default()) };
    ensure!(delays.len() <= MAX_RETRIES, "webhook_retry_delays has more than {MAX_RETRIES} delays");
    let is_possible = |delay: &u64| (1..=MAX_RETRY_DELAY).contains(delay);
    ensure!(
        delays.iter().all(is_possible),
        "webhook_retry_delays has a delay that is not in 1 to {MAX_RETRY_DELAY}"
    );
    Ok(Schedule { delays: delays.into_iter().map(Duration::from_secs).collect(), ..Schedule::default() })
}

/// What waits for longer than the retention is deleted. That must not happen before the last attempt, unless the receiver asked
/// for longer waits.
fn check_retention(retention: Duration, schedule: &Schedule) -> anyhow::Result<()> {
    let longest = schedule.longest_delivery(DEFAULT_TIMEOUT);
    let days = longest.as_secs().div_ceil(HOURS_OF_A_DAY * 60 * 60);
    ensure!(
        longest <= retention,
        "webhook_retention_days is shorter than the attempts of webhook_retry_delays can take: set at least {days} days, or \
         shorter delays"
    );
    Ok(())
}

fn authorities(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let found = certificates(file).with_context(|| format!("webhook_ca_file {shown} cannot be read"))?;
    ensure!(!found.is_empty(), "webhook_ca_file {shown} has no certificate in PEM");
    Ok(found)
}
