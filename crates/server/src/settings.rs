//! Settings: flags over environment over file over default.
//!
//! Flags and environment are one layer, merged by clap; the file is the other. No database URL is ever printed, since
//! it may contain a password.
//!
//! The variables that are not settings are read where they are used: `RUST_LOG` in `logging`, `NOTIFY_SOCKET` and `WATCHDOG_USEC`
//! in `cli/supervisor`, `NO_COLOR` in `cli/table`, `PATH` in the crate `postgres`. Libraries read further ones: sqlx the
//! variables `PG…`, for what a database URL leaves out, and the exporter of traces `OTEL_…`.

mod pairs;
mod postgres;
mod quotas;
mod signer;
mod webhooks;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser as _};
use identity_terminal::input;
use secrecy::SecretString;
use serde::Deserialize;

use crate::secrets_key::SecretsSettings;
use crate::signing::{GivenKey, SigningSettings};
use crate::witnesses::Witness;

pub use crate::edge::Cors;
pub use postgres::{PostgresLayer, PostgresSettings};
pub use quotas::{QuotaLayer, QuotaSettings};
pub use signer::SignerLayer;
pub use webhooks::WebhookLayer;
pub use wire::{HeaderName, WireLayer, WireSettings};

/// The largest file of settings, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_DATA_DIR: &str = ".identityd";
const DEFAULT_MAIL_DOMAIN: &str = "agents.localhost";
const DEFAULT_TUNNEL_ZONE: &str = "tunnels.localhost";
const DEFAULT_NAME_HOLD_DAYS: u32 = 30;
const DEFAULT_DESCRIPTION_LIMIT: usize = 10_000;
const DEFAULT_IDEMPOTENCY_RETENTION_HOURS: u32 = 24;

/// A hundred years: longer is a typing error, and would leave the range of a timestamp.
const MAX_NAME_HOLD_DAYS: u32 = 36_500;
const SECONDS_OF_AN_HOUR: u64 = 60 * 60;
const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// The place of the data, from flags and environment.
#[derive(Debug, Default, Args)]
pub struct DatabaseFlags {
    /// Folder of keys and, without a database URL, of the private Postgres [default: .identityd]
    #[arg(long, global = true, env = "IDENTITYD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Postgres to use instead of a private one, as a postgres:// URL
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    #[arg(value_parser = NonEmptyStringValueParser::new().map(SecretString::from))]
    pub database_url: Option<SecretString>,

    /// URL of the same database for the role that owns the tables, if the role of --database-url does not; used to migrate, to
    /// restore and to grant rights [default: none]
    #[arg(long, global = true, env = "IDENTITYD_OWNER_URL", hide_env_values = true, value_name = "URL")]
    #[arg(value_parser = NonEmptyStringValueParser::new().map(SecretString::from))]
    pub owner_url: Option<SecretString>,
}

/// The signing key and the memory of the signer, from flags and environment.
#[derive(Debug, Default, Args)]
pub struct SigningFlags {
    /// File with the key that signs checkpoints, 32 bytes in base64, which nobody else can read [default: made on first
    /// start, kept in the data directory]
    #[arg(long, global = true, env = "IDENTITYD_SIGNING_KEY_FILE", value_name = "FILE")]
    pub signing_key_file: Option<PathBuf>,

    /// The signing key, 32 bytes in base64. Use the environment variable: other users of this machine can see flags
    #[arg(long, global = true, env = "IDENTITYD_SIGNING_KEY", hide_env_values = true, value_name = "KEY")]
    #[arg(value_parser = NonEmptyStringValueParser::new().map(SecretString::from))]
    pub signing_key: Option<SecretString>,

    /// Where the signer remembers what was signed.
    #[command(flatten)]
    pub signer: SignerLayer,
}

/// The secrets key, from flags and environment.
#[derive(Debug, Default, Args)]
pub struct SecretsFlags {
    /// File with the key under which signing keys and tokens of webhooks are sealed, 32 bytes in base64, which nobody else can read
    /// [default: secrets.key in the data directory, made on first start]
    #[arg(long, global = true, env = "IDENTITYD_SECRETS_KEY_FILE", value_name = "FILE")]
    pub secrets_key_file: Option<PathBuf>,
}

/// How to serve, from flags and environment.
#[derive(Debug, Default, Args)]
pub struct ServeFlags {
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "IDENTITYD_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// Domain of the mailboxes [default: agents.localhost]
    #[arg(long, env = "IDENTITYD_MAIL_DOMAIN", value_name = "DOMAIN")]
    pub mail_domain: Option<String>,

    /// Zone of the tunnels' public hosts [default: tunnels.localhost]
    #[arg(long, env = "IDENTITYD_TUNNEL_ZONE", value_name = "DOMAIN")]
    pub tunnel_zone: Option<String>,

    /// Days for which the names of a deleted identity stay reserved; 0 frees them at once [default: 30]
    #[arg(long, env = "IDENTITYD_NAME_HOLD_DAYS", value_name = "DAYS")]
    pub name_hold_days: Option<u32>,

    /// Longest description of an identity, in characters [default: 10000]
    #[arg(long, env = "IDENTITYD_DESCRIPTION_LIMIT", value_name = "CHARACTERS")]
    pub description_limit: Option<usize>,

    /// Settings of connections and requests.
    #[command(flatten)]
    pub wire: WireLayer,

    /// Quotas.
    #[command(flatten)]
    pub quotas: QuotaLayer,

    /// How Postgres is used.
    #[command(flatten)]
    pub postgres: PostgresLayer,

    /// Where webhooks may be sent, and when.
    #[command(flatten)]
    pub webhooks: WebhookLayer,

    /// Hours for which a repetition of a write with an Idempotency-Key gets the stored answer, at least 24 [default:
    /// 24]
    #[arg(long, env = "IDENTITYD_IDEMPOTENCY_RETENTION_HOURS", value_name = "HOURS")]
    pub idempotency_retention_hours: Option<u32>,

    /// Take the checkpoints in the database for the last ones if the memory of the signer is empty [default: false]
    #[arg(long, env = "IDENTITYD_TRUST_CHECKPOINTS", value_name = "true|false")]
    pub trust_checkpoints: Option<bool>,

    /// Witnesses that are asked to cosign checkpoints, each a verifier key, a space and a URL [default: none]
    #[arg(long, env = "IDENTITYD_WITNESSES", value_name = "WITNESS", value_delimiter = ',')]
    pub witnesses: Option<Vec<Witness>>,
}

/// The settings file: TOML. Every key is optional, and has the name of its flag with underscores.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    data_dir: Option<PathBuf>,
    database_url: Option<SecretString>,
    owner_url: Option<SecretString>,
    signing_key: Option<SecretString>,
    signing_key_file: Option<PathBuf>,
    secrets_key_file: Option<PathBuf>,
    listen: Option<SocketAddr>,
    mail_domain: Option<String>,
    tunnel_zone: Option<String>,
    name_hold_days: Option<u32>,
    description_limit: Option<usize>,
    #[serde(default)]
    http: WireLayer,
    #[serde(default)]
    quotas: QuotaLayer,
    #[serde(default)]
    postgres: PostgresLayer,
    #[serde(default)]
    webhooks: WebhookLayer,
    #[serde(default)]
    signer: SignerLayer,
    idempotency_retention_hours: Option<u32>,
    trust_checkpoints: Option<bool>,
    witnesses: Option<Vec<Witness>>,
}

impl SettingsFile {
    /// Reads the file. Without a path, no setting is set.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = input::read_text(path, MAX_FILE_BYTES)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use the settings in {}", path.display()))
    }

    /// Parses the text of the file. The error names the line and the key. It never shows the text of the line, which
    /// may be a password.
    fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            anyhow!("line {line}: {}", error.message())
        })
    }
}

/// Where the data is.
#[derive(Debug, Clone)]
pub enum DatabaseSettings {
    /// In the private Postgres of this data directory.
    Private(PathBuf),
    /// In the Postgres that these URLs lead to.
    Url(Urls),
}

/// One database, as one role or as two.
#[derive(Debug, Clone)]
pub struct Urls {
    /// As the role that serves.
    pub service: SecretString,
    /// As the role that owns the tables, if that is another one.
    pub owner: Option<SecretString>,
}

impl DatabaseSettings {
    /// Merges the layers. A URL wins over a data directory.
    pub fn resolve(flags: DatabaseFlags, file: &SettingsFile) -> anyhow::Result<Self> {
        let owner = flags.owner_url.or_else(|| file.owner_url.clone());
        if let Some(service) = flags.database_url.or_else(|| file.database_url.clone()) {
            return Ok(Self::Url(Urls { service, owner }));
        }
        ensure!(owner.is_none(), "owner_url is set, and database_url is not");
        let data_dir = flags.data_dir.or_else(|| file.data_dir.clone());
        Ok(Self::Private(data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))))
    }
}

impl SigningSettings {
    /// Merges the layers.
    pub fn resolve(
        flags: SigningFlags,
        database: &DatabaseFlags,
        file: &SettingsFile,
    ) -> anyhow::Result<Self> {
        let given = given_key(flags.signing_key, flags.signing_key_file)?;
        let in_file = given_key(file.signing_key.clone(), file.signing_key_file.clone())?;
        let etcd = flags.signer.over(&file.signer).resolve()?;
        Ok(Self { data_dir: data_dir(database, file), key: given.or(in_file), etcd })
    }
}

impl SecretsSettings {
    /// Merges the layers.
    pub fn resolve(flags: SecretsFlags, database: &DatabaseFlags, file: &SettingsFile) -> Self {
        let given = flags.secrets_key_file.or_else(|| file.secrets_key_file.clone());
        Self::new(given, &data_dir(database, file))
    }
}

/// The data directory. There is one also if the database is elsewhere (`--database-url`).
fn data_dir(database: &DatabaseFlags, file: &SettingsFile) -> PathBuf {
    let given = database.data_dir.clone().or_else(|| file.data_dir.clone());
    given.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))
}

fn given_key(text: Option<SecretString>, file: Option<PathBuf>) -> anyhow::Result<Option<GivenKey>> {
    ensure!(text.is_none() || file.is_none(), "signing_key and signing_key_file are both set");
    Ok(text.map(GivenKey::Text).or_else(|| file.map(GivenKey::File)))
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The platform's mail domain.
    pub mail_domain: String,
    /// The zone in which tunnels get their public host.
    pub tunnel_zone: String,
    /// How long the names of a deleted identity stay reserved; zero frees them at once.
    pub name_hold: Duration,
    /// Longest description of an identity, in characters.
    pub description_limit: usize,
    /// Settings of connections and requests.
    pub wire: WireSettings,
    /// Quotas.
    pub quotas: QuotaSettings,
    /// How Postgres is used.
    pub postgres: PostgresSettings,
    /// Where webhooks may be sent, and when.
    pub webhooks: identity_webhooks::Settings,
    /// How long the answer to a write with an `Idempotency-Key` is stored for repetitions.
    pub idempotency_retention: Duration,
    /// Whether a signer whose memory is empty takes the checkpoints in the database for the last ones.
    pub trust_checkpoints: bool,
    /// Who is asked to cosign checkpoints.
    pub witnesses: Vec<Witness>,
}

impl ServeSettings {
    /// Merges the layers and checks the result; an error names the key.
    pub fn resolve(flags: ServeFlags, file: SettingsFile) -> anyhow::Result<Self> {
        Ok(Self {
            listen: flags.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN),
            mail_domain: domain("mail_domain", flags.mail_domain.or(file.mail_domain), DEFAULT_MAIL_DOMAIN)?,
            tunnel_zone: domain("tunnel_zone", flags.tunnel_zone.or(file.tunnel_zone), DEFAULT_TUNNEL_ZONE)?,
            name_hold: name_hold(flags.name_hold_days.or(file.name_hold_days))?,
            description_limit: description_limit(flags.description_limit.or(file.description_limit))?,
            wire: WireSettings::resolve(flags.wire.over(file.http))?,
            quotas: QuotaSettings::resolve(&flags.quotas.over(&file.quotas))?,
            postgres: PostgresSettings::resolve(&flags.postgres.over(&file.postgres))?,
            webhooks: flags.webhooks.over(file.webhooks).resolve()?,
            idempotency_retention: idempotency_retention(
                flags.idempotency_retention_hours.or(file.idempotency_retention_hours),
            )?,
            trust_checkpoints: flags.trust_checkpoints.or(file.trust_checkpoints).unwrap_or(false),
            witnesses: flags.witnesses.or(file.witnesses).unwrap_or_default(),
        })
    }
}

fn name_hold(days: Option<u32>) -> anyhow::Result<Duration> {
    let days = days.unwrap_or(DEFAULT_NAME_HOLD_DAYS);
    ensure!(days <= MAX_NAME_HOLD_DAYS, "name_hold_days is {days}, at most {MAX_NAME_HOLD_DAYS} is possible");
    Ok(Duration::from_secs(u64::from(days) * SECONDS_OF_A_DAY))
}

fn description_limit(characters: Option<usize>) -> anyhow::Result<usize> {
    let characters = characters.unwrap_or(DEFAULT_DESCRIPTION_LIMIT);
    ensure!(characters > 0, "description_limit must be at least 1");
    Ok(characters)
}

/// The contract promises clients a day.
fn idempotency_retention(hours: Option<u32>) -> anyhow::Result<Duration> {
    let hours = hours.unwrap_or(DEFAULT_IDEMPOTENCY_RETENTION_HOURS);
    ensure!(
        hours >= DEFAULT_IDEMPOTENCY_RETENTION_HOURS,
        "idempotency_retention_hours must be at least {DEFAULT_IDEMPOTENCY_RETENTION_HOURS}"
    );
    Ok(Duration::from_secs(u64::from(hours) * SECONDS_OF_AN_HOUR))
}

/// Domains are compared and concatenated as text, so each has to be in its normal spelling.
fn domain(key: &str, given: Option<String>, default: &str) -> anyhow::Result<String> {
    let name = given.unwrap_or_else(|| default.to_owned());
    let valid = name.len() <= 253 && name.split('.').all(is_label);
    ensure!(
        valid,
        "{key} is {name:?}, which is no domain name (lower-case letters, digits, hyphens and dots)"
    );
    Ok(name)
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests;
