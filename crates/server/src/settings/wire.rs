//! Settings of connections and requests: time limits, budgets, TLS, proxies, compression, CORS.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use identity_http::client::{ForwardedHeader, TrustedProxies};
use identity_http::limits::{self, DailySettings, OfHolders};
use ipnet::IpNet;
use serde::Deserialize;

use super::pairs::both;
use crate::connections::ConnectionSettings;
use crate::edge::Cors;
use crate::tls::TlsSettings;

const DEFAULT_CLIENT_TIMEOUT_SECONDS: u64 = 30;
const DEFAULT_WRITE_TIMEOUT_SECONDS: u64 = 30;
const DEFAULT_REQUEST_TIMEOUT_SECONDS: u64 = 30;
const DEFAULT_MAX_CONNECTIONS: usize = 4096;
const DEFAULT_MAX_REQUESTS: usize = 1024;
const DEFAULT_MAX_STREAMS_PER_KEY: usize = 128;
const DEFAULT_MAX_STREAMS_PER_ORGANIZATION: usize = 256;
const DEFAULT_MAX_BODIES_PER_ADDRESS: usize = 128;
const DEFAULT_REFUSED_KEYS_PER_MINUTE: u32 = 600;

/// An hour: longer is a typing error.
const MAX_TIMEOUT_SECONDS: u64 = 3600;

/// The largest limit that is accepted for connections or requests.
const MAX_SEMAPHORE_PERMITS: usize = 1_000_000;

/// Settings of connections and requests in one layer of settings: flags and environment,
/// or the table `http` of the settings file. Every part is optional.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireLayer {
    /// Address of /metrics [default: 127.0.0.1, at the port after that of the API]
    #[arg(long, env = "IDENTITYD_METRICS_LISTEN", value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,

    /// Seconds that a client may take to send a handshake, headers or a body, or may be idle between requests [default:
    /// 30]
    #[arg(long, env = "IDENTITYD_CLIENT_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub client_timeout_seconds: Option<u64>,

    /// Seconds for which a client may read nothing of an answer [default: 30]
    #[arg(long, env = "IDENTITYD_WRITE_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub write_timeout_seconds: Option<u64>,

    /// Seconds after which a request is answered with 503 [default: 30]
    #[arg(long, env = "IDENTITYD_REQUEST_TIMEOUT_SECONDS", value_name = "SECONDS")]
    pub request_timeout_seconds: Option<u64>,

    /// Connections at the same time; for a further one, the one that was idle for longest is closed [default: 4096]
    #[arg(long, env = "IDENTITYD_MAX_CONNECTIONS", value_name = "NUMBER")]
    pub max_connections: Option<usize>,

    /// Connections at the same time from one address that is no trusted proxy [default: a quarter of all]
    #[arg(long, env = "IDENTITYD_MAX_CONNECTIONS_PER_ADDRESS", value_name = "NUMBER")]
    pub max_connections_per_address: Option<usize>,

    /// Requests at the same time; more are answered with 503 [default: 1024]
    #[arg(long, env = "IDENTITYD_MAX_REQUESTS", value_name = "NUMBER")]
    pub max_requests: Option<usize>,

    /// Requests at the same time with one key; more are answered with 429 [default: a quarter of all]
    #[arg(long, env = "IDENTITYD_MAX_REQUESTS_PER_KEY", value_name = "NUMBER")]
    pub max_requests_per_key: Option<usize>,

    /// Requests at the same time of one organization; more are answered with 429 [default: half of all]
    #[arg(long, env = "IDENTITYD_MAX_REQUESTS_PER_ORGANIZATION", value_name = "NUMBER")]
    pub max_requests_per_organization: Option<usize>,

    /// Bodies awaited at the same time from one address; more are answered with 429 [default: 128]
    #[arg(long, env = "IDENTITYD_MAX_BODIES_PER_ADDRESS", value_name = "NUMBER")]
    pub max_bodies_per_address: Option<usize>,

    /// Answers written piece by piece at the same time for one key; more are answered with 429 [default: 128]
    #[arg(long, env = "IDENTITYD_MAX_STREAMS_PER_KEY", value_name = "NUMBER")]
    pub max_streams_per_key: Option<usize>,

    /// The same for one organization [default: 256]
    #[arg(long, env = "IDENTITYD_MAX_STREAMS_PER_ORGANIZATION", value_name = "NUMBER")]
    pub max_streams_per_organization: Option<usize>,

    /// Requests a minute with one key; more are answered with 429 [default: no limit]
    #[arg(long, env = "IDENTITYD_KEY_REQUESTS_PER_MINUTE", value_name = "NUMBER")]
    pub key_requests_per_minute: Option<NonZeroU32>,

    /// Requests a minute of one organization; more are answered with 429 [default: no limit]
    #[arg(long, env = "IDENTITYD_ORGANIZATION_REQUESTS_PER_MINUTE", value_name = "NUMBER")]
    pub organization_requests_per_minute: Option<NonZeroU32>,

    /// Invalid keys a minute from one address; more are answered with 429; 0 is no limit [default: 600]
    #[arg(long, env = "IDENTITYD_REFUSED_KEYS_PER_MINUTE", value_name = "NUMBER")]
    pub refused_keys_per_minute: Option<u32>,

    /// Networks of proxies that are trusted to report the address of the client [default: none]
    #[arg(long, env = "IDENTITYD_TRUSTED_PROXIES", value_name = "NETWORK", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<IpNet>>,

    /// The header in which they report it [default: x-forwarded-for]
    #[arg(long, env = "IDENTITYD_FORWARDED_HEADER", value_name = "HEADER")]
    pub forwarded_header: Option<HeaderName>,

    /// Whether answers are compressed for clients that ask for it [default: true]
    #[arg(long, env = "IDENTITYD_COMPRESSION", value_name = "BOOL")]
    pub compression: Option<bool>,

    /// Origins whose scripts may call the API, such as `https://app.example`, or `*` for all [default: none]
    #[arg(long, env = "IDENTITYD_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origins: Option<Vec<String>>,

    /// File of the TLS certificate and those above it, in PEM; with --tls-key, the API is served over TLS
    #[arg(long, env = "IDENTITYD_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,

    /// File of its private key, in PEM; both are read again on SIGHUP
    #[arg(long, env = "IDENTITYD_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
}

/// The names of headers that proxies write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderName {
    /// The header that most proxies write
    XForwardedFor,
    /// RFC 7239
    Forwarded,
}

/// Settings of connections and requests.
#[derive(Debug, Clone)]
pub struct WireSettings {
    /// The address of /metrics, if it is set.
    pub metrics_listen: Option<SocketAddr>,
    /// How connections are served.
    pub connections: ConnectionSettings,
    /// How long a request may take.
    pub longest_request: Duration,
    /// The limits on keys, organizations and addresses.
    pub limits: limits::Settings,
    /// Whether answers are compressed for clients that ask for it.
    pub compression: bool,
    /// The origins whose scripts may call the API.
    pub cors: Cors,
    /// The certificate and its key, if the API is served over TLS.
    pub tls: Option<TlsSettings>,
}

impl WireLayer {
    /// Values of this layer, and for those that it does not set the values of the layer below.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            metrics_listen: self.metrics_listen.or(below.metrics_listen),
            client_timeout_seconds: self.client_timeout_seconds.or(below.client_timeout_seconds),
            write_timeout_seconds: self.write_timeout_seconds.or(below.write_timeout_seconds),
            request_timeout_seconds: self.request_timeout_seconds.or(below.request_timeout_seconds),
            max_connections: self.max_connections.or(below.max_connections),
            max_connections_per_address: self
                .max_connections_per_address
                .or(below.max_connections_per_address),
            max_requests: self.max_requests.or(below.max_requests),
            max_requests_per_key: self.max_requests_per_key.or(below.max_requests_per_key),
            max_requests_per_organization: self
                .max_requests_per_organization
                .or(below.max_requests_per_organization),
            max_bodies_per_address: self.max_bodies_per_address.or(below.max_bodies_per_address),
            max_streams_per_key: self.max_streams_per_key.or(below.max_streams_per_key),
            max_streams_per_organization: self
                .max_streams_per_organization
                .or(below.max_streams_per_organization),
            key_requests_per_minute: self.key_requests_per_minute.or(below.key_requests_per_minute),
            organization_requests_per_minute: self
                .organization_requests_per_minute
                .or(below.organization_requests_per_minute),
            refused_keys_per_minute: self.refused_keys_per_minute.or(below.refused_keys_per_minute),
            trusted_proxies: self.trusted_proxies.or(below.trusted_proxies),
            forwarded_header: self.forwarded_header.or(below.forwarded_header),
            compression: self.compression.or(below.compression),
            cors_origins: self.cors_origins.or(below.cors_origins),
            tls_certificate: self.tls_certificate.or(below.tls_certificate),
            tls_key: self.tls_key.or(below.tls_key),
        }
    }
}

impl WireSettings {
    /// Fills in the defaults and checks the result; an error names the key.
    pub fn resolve(layer: WireLayer) -> anyhow::Result<Self> {
        let header = match layer.forwarded_header {
            Some(HeaderName::Forwarded) => ForwardedHeader::Forwarded,
            Some(HeaderName::XForwardedFor) | None => ForwardedHeader::XForwardedFor,
        };
        Ok(Self {
            metrics_listen: layer.metrics_listen,
            connections: connections(&layer, header)?,
            longest_request: timeout(
                "request_timeout_seconds",
                layer.request_timeout_seconds,
                DEFAULT_REQUEST_TIMEOUT_SECONDS,
            )?,
            limits: limits(&layer)?,
            compression: layer.compression.unwrap_or(true),
            cors: Cors::parse(&layer.cors_origins.unwrap_or_default())?,
            tls: tls(layer.tls_certificate, layer.tls_key)?,
        })
    }
}

fn connections(layer: &WireLayer, header: ForwardedHeader) -> anyhow::Result<ConnectionSettings> {
    let all = checked("max_connections", layer.max_connections, DEFAULT_MAX_CONNECTIONS)?;
    let of_address = layer.max_connections_per_address;
    Ok(ConnectionSettings {
        client_timeout: timeout(
            "client_timeout_seconds",
            layer.client_timeout_seconds,
            DEFAULT_CLIENT_TIMEOUT_SECONDS,
        )?,
        write_timeout: timeout(
            "write_timeout_seconds",
            layer.write_timeout_seconds,
            DEFAULT_WRITE_TIMEOUT_SECONDS,
        )?,
        max_connections: all,
        max_connections_of_address: checked("max_connections_per_address", of_address, share(all, 4))?,
        trusted_proxies: TrustedProxies {
            networks: layer.trusted_proxies.clone().unwrap_or_default(),
            header,
        },
    })
}

fn limits(layer: &WireLayer) -> anyhow::Result<limits::Settings> {
    let requests = checked("max_requests", layer.max_requests, DEFAULT_MAX_REQUESTS)?;
    let (of_key, of_organization) = (layer.max_requests_per_key, layer.max_requests_per_organization);
    Ok(limits::Settings {
        key: layer.key_requests_per_minute,
        organization: layer.organization_requests_per_minute,
        refused_keys: NonZeroU32::new(
            layer.refused_keys_per_minute.unwrap_or(DEFAULT_REFUSED_KEYS_PER_MINUTE),
        ),
        requests,
        requests_of: OfHolders {
            key: checked("max_requests_per_key", of_key, share(requests, 4))?,
            organization: checked("max_requests_per_organization", of_organization, share(requests, 2))?,
        },
        streams_of: OfHolders {
            key: checked("max_streams_per_key", layer.max_streams_per_key, DEFAULT_MAX_STREAMS_PER_KEY)?,
            organization: checked(
                "max_streams_per_organization",
                layer.max_streams_per_organization,
                DEFAULT_MAX_STREAMS_PER_ORGANIZATION,
            )?,
        },
        // It follows from the connections that there are.
        connections_of: OfHolders::default(),
        bodies_of_address: checked(
            "max_bodies_per_address",
            layer.max_bodies_per_address,
            DEFAULT_MAX_BODIES_PER_ADDRESS,
        )?,
        // Quotas have a table of their own.
        daily: DailySettings::default(),
        bulk_bytes_per_second: 0,
    })
}

/// One of `parts` equal parts of `all`, but at least 1.
fn share(all: usize, parts: usize) -> usize {
    (all / parts).max(1)
}

fn timeout(key: &str, given: Option<u64>, default: u64) -> anyhow::Result<Duration> {
    let seconds = given.unwrap_or(default);
    ensure!(
        (1..=MAX_TIMEOUT_SECONDS).contains(&seconds),
        "{key} is {seconds}, which is not in 1 to {MAX_TIMEOUT_SECONDS}"
    );
    Ok(Duration::from_secs(seconds))
}

fn checked(key: &str, given: Option<usize>, default: usize) -> anyhow::Result<usize> {
    let number = given.unwrap_or(default);
    ensure!(
        (1..=MAX_SEMAPHORE_PERMITS).contains(&number),
        "{key} is {number}, which is not in 1 to {MAX_SEMAPHORE_PERMITS}"
    );
    Ok(number)
}

fn tls(certificate: Option<PathBuf>, key: Option<PathBuf>) -> anyhow::Result<Option<TlsSettings>> {
    let pair = both(("tls_certificate", certificate), ("tls_key", key))?;
    Ok(pair.map(|(certificate, key)| TlsSettings { certificate, key }))
}
